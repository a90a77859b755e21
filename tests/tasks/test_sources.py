"""Files of a user: any size and mode, and what is refused before it is decoded."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.sources import Source, find_sources, read, shown_size

PIXELS = np.random.RandomState(0).randint(0, 256, (6, 8, 3), dtype=np.uint8)


def save(path: Path, mode: str = "RGB", **options: object) -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(PIXELS).convert(mode).save(path, **options)
    return path


def png_header(path: Path, width: int, height: int) -> Path:
    """A PNG file that says how large it is and holds next to nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
            for name, data in chunks
        )
    )
    return path


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("mode", "name"),
    [
        ("RGB", "a.png"), ("RGB", "a.webp"), ("RGB", "a.jpg"), ("L", "a.jpeg"), ("P", "a.png"),
        ("RGBA", "a.png"), ("LA", "a.png"), ("I;16", "a.png"), ("1", "a.png"), ("CMYK", "a.jpg"),
    ],
)  # fmt: skip
def test_any_kind_of_image_becomes_the_models(
    tmp_path: Path, mode: str, name: str, channels: int
) -> None:
    if mode == "I;16":
        Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257).save(tmp_path / name)
    else:
        save(tmp_path / name, mode)
    assert read(Source(tmp_path / name, "a"), channels, 4).shape == (channels, 4, 4)


def test_the_middle_of_an_image_as_it_is_shown_is_what_counts(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by a quarter, clockwise
    path = save(tmp_path / "a.png", exif=exif)
    assert shown_size(path) == (6, 8)
    middle = np.rot90(PIXELS, -1)[1:7]
    assert np.array_equal(read(Source(path, "a"), 3, 6).permute(1, 2, 0).numpy(), middle)


def test_a_huge_image_is_refused_by_its_header(tmp_path: Path) -> None:
    # Above Pillow's own limit, and below it.
    for side in (20_000, 10_000):
        path = png_header(tmp_path / f"{side}.png", side, side)
        with pytest.raises(ValueError, match=r"\.png: .*pixels.* make it smaller first"):
            find_sources(str(path), tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"not an image at all"])
def test_what_is_no_image_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"input=.*a\.png: not an image"):
        find_sources(str(tmp_path / "a.png"), tmp_path / "out")
    with pytest.raises(ValueError, match="holds no image that can be used.*not an image"):
        find_sources(str(tmp_path), tmp_path / "out")


def test_a_broken_file_of_a_folder_is_named_and_the_others_found(tmp_path: Path) -> None:
    whole = save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(whole.read_bytes()[:120])
    save(tmp_path / "deeper" / "c.png")
    (tmp_path / "notes.txt").write_text("none of the images")
    sources, skipped = find_sources(str(tmp_path), tmp_path / "out")
    assert [source.name for source in sources] == ["a", "deeper/c"]
    assert [entry.path.name for entry in skipped] == ["b.png"]
    assert "truncated" in skipped[0].reason


def test_results_in_the_folder_are_no_input(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    save(tmp_path / "out" / "a_seed0.png")
    assert [s.name for s in find_sources(str(tmp_path), tmp_path / "out")[0]] == ["a"]


@pytest.mark.parametrize("other", ["a.jpg", "A.png"])
def test_two_files_whose_results_would_have_one_name_are_refused(
    tmp_path: Path, other: str
) -> None:
    save(tmp_path / "a.png")
    save(tmp_path / other)
    with pytest.raises(
        ValueError, match=r"[aA]\.(png|jpg) and .*would have one name, [aA]_seed0\.png"
    ):
        find_sources(str(tmp_path), tmp_path / "out")


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        find_sources(str(tmp_path / "none"), tmp_path / "out")
    with pytest.raises(ValueError, match="holds no image that can be used"):
        find_sources(str(tmp_path), tmp_path / "out")
