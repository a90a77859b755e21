from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.decode import BrokenImageError, check_image, read_image

random = np.random.RandomState(0)
RGB = random.randint(0, 256, (6, 4, 3), dtype=np.uint8)


def saved(image: Image.Image, path: Path, **options: object) -> torch.Tensor:
    image.save(path, **options)
    return read_image(path)


def test_colour_comes_back_byte_for_byte_channels_first(tmp_path: Path) -> None:
    found = saved(Image.fromarray(RGB), tmp_path / "a.png")
    assert found.dtype == torch.uint8
    assert np.array_equal(found.permute(1, 2, 0).numpy(), RGB)


def test_grey_and_black_and_white_have_one_channel(tmp_path: Path) -> None:
    grey = RGB[..., 0]
    assert np.array_equal(saved(Image.fromarray(grey), tmp_path / "a.png")[0].numpy(), grey)
    bits = saved(Image.fromarray(grey > 127), tmp_path / "b.png")
    assert np.array_equal(bits[0].numpy(), np.where(grey > 127, 255, 0))


def test_palette_gives_the_colours_it_names(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([1, 0])
    found = saved(image, tmp_path / "a.png")
    assert found.permute(1, 2, 0).tolist() == [[[200, 100, 50], [10, 20, 30]]]


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (3, 1))
    image.putdata([(10, 20, 30, 255), (0, 0, 0, 0), (0, 100, 200, 51)])
    found = saved(image, tmp_path / "a.png").permute(1, 2, 0)[0]
    # Alpha 51 / 255 = 0.2: 0.2 of the colour and 0.8 of white.
    assert found.tolist() == [[10, 20, 30], [255, 255, 255], [204, 224, 244]]


def test_transparent_palette_and_grey_are_laid_on_white(tmp_path: Path) -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putdata([1, 0])
    found = saved(palette, tmp_path / "a.png", transparency=0).permute(1, 2, 0)[0]
    assert found.tolist() == [[200, 100, 50], [255, 255, 255]]
    grey = Image.new("LA", (2, 1))
    grey.putdata([(40, 255), (40, 0)])
    assert saved(grey, tmp_path / "b.png")[0].tolist() == [[40, 255]]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path, suffix: str) -> None:
    values = np.array([[0, 128, 129, 257, 32768, 65278, 65535]], dtype=np.uint16)
    found = saved(Image.fromarray(values), tmp_path / f"a.{suffix}")
    assert found[0, 0].tolist() == [0, 0, 1, 1, 128, 254, 255]


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    image = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    found = saved(image, tmp_path / "a.jpg", quality=100)
    assert found.shape == (3, 8, 8)
    expected = torch.tensor([0.0, 255.0, 255.0]).view(3, 1, 1)
    assert (found - expected).abs().max() <= 3


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, RGB),
        (2, RGB[:, ::-1]),
        (3, RGB[::-1, ::-1]),
        (4, RGB[::-1]),
        (6, np.rot90(RGB, -1)),
        (8, np.rot90(RGB, 1)),
    ],
)
def test_exif_turns_the_image_upright(
    tmp_path: Path, orientation: int, expected: np.ndarray
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = saved(Image.fromarray(RGB), tmp_path / "a.png", exif=exif)
    assert np.array_equal(found.permute(1, 2, 0).numpy(), expected)


def test_first_frame_of_an_animation_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("L", (4, 4), shade) for shade in (30, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert (read_image(tmp_path / "a.gif") == 30).all()


def damaged(kind: str, path: Path) -> Path:
    noise = random.randint(0, 256, (64, 64, 3), dtype=np.uint8)
    whole = path.with_suffix(f".{kind}")
    Image.fromarray(noise).save(whole)
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    return whole


@pytest.mark.parametrize("kind", ["jpg", "png", "bmp", "webp", "tif", "gif"])
def test_truncated_file_is_named_by_reading_and_by_the_check(tmp_path: Path, kind: str) -> None:
    path = damaged(kind, tmp_path / "half")
    for function in (read_image, check_image):
        with pytest.raises(BrokenImageError, match=f"half.{kind}"):
            function(path)


@pytest.mark.parametrize("content", [b"", b"no image at all"])
def test_file_that_is_no_image_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "note.png"
    path.write_bytes(content)
    for function in (read_image, check_image):
        with pytest.raises(BrokenImageError, match=r"note\.png"):
            function(path)


def test_check_accepts_bytes_after_the_end(tmp_path: Path) -> None:
    for kind in ("jpg", "png"):
        path = tmp_path / f"a.{kind}"
        Image.fromarray(RGB).save(path)
        path.write_bytes(path.read_bytes() + b"camera maker's note")
        check_image(path)


def test_float_and_wide_integers_are_refused(tmp_path: Path) -> None:
    for name, values in (
        ("float", np.zeros((2, 2), np.float32)),
        ("wide", np.full((2, 2), 1 << 20, np.int32)),
    ):
        Image.fromarray(values).save(tmp_path / f"{name}.tif")
        with pytest.raises(BrokenImageError, match=rf"{name}\.tif.*16 bits"):
            read_image(tmp_path / f"{name}.tif")


def test_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (100, 100)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    for function in (read_image, check_image):
        with pytest.raises(BrokenImageError, match=r"bomb\.png: DecompressionBombError"):
            function(tmp_path / "bomb.png")
