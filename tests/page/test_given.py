"""What a browser sends is held to limits before any of it is decoded."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from page.given import brought_to_size, data_url, file_bytes, png, write_image, write_mask
from tests.tasks.test_sources import png_header

PIXELS = torch.from_numpy(np.random.RandomState(0).randint(0, 256, (3, 8, 8), dtype=np.uint8))


def test_an_image_comes_back_from_its_data_url_to_the_bit(tmp_path: Path) -> None:
    content = file_bytes(data_url(png(PIXELS)), 1)
    assert torch.equal(brought_to_size(content, tmp_path / "image", (3, 8, 8)), PIXELS)
    grey = png(PIXELS[:1].expand(3, -1, -1))
    assert torch.equal(brought_to_size(grey, tmp_path / "image", (1, 8, 8)), PIXELS[:1])


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (None, "did not arrive"),
        ("/etc/passwd", "did not arrive"),
        ("file:///etc/passwd", "did not arrive"),
        ({"path": "/etc/passwd"}, "did not arrive"),
        ("data:image/png;base64,a?b", "did not arrive whole"),
        ("data:image/png;base64," + "A" * 3_000_000, r"has 2\.3 MB; give one of at most 1 MB"),
    ],
)
def test_what_is_no_file_or_too_large_a_one_is_refused(url: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        file_bytes(url, 1)


@pytest.mark.parametrize("side", [10_000, 20_000])
def test_a_huge_image_is_refused_by_its_header(tmp_path: Path, side: int) -> None:
    content = png_header(tmp_path / "huge.png", side, side).read_bytes()
    with pytest.raises(ValueError, match=r"pixels.*make it smaller"):
        write_image(content, tmp_path / "image")
    assert not (tmp_path / "image").exists()


def test_what_is_no_image_and_what_another_program_would_open_is_refused(tmp_path: Path) -> None:
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
    for content in (b"", b"not an image", script):
        with pytest.raises(ValueError, match="this is no image of a kind that is read: PNG, JPEG"):
            write_image(content, tmp_path / "image")


def test_a_damaged_image_is_refused_without_the_place_it_was_kept_in(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be used") as caught:
        write_image(png(PIXELS)[:-40], tmp_path / "image")
    assert str(tmp_path) not in str(caught.value)


def test_a_mask_must_hide_something(tmp_path: Path) -> None:
    empty = png(torch.zeros(1, 8, 8, dtype=torch.uint8))
    with pytest.raises(ValueError, match="nothing is masked: paint over"):
        write_mask(empty, tmp_path / "mask")
    one = torch.zeros(1, 8, 8, dtype=torch.uint8)
    one[0, 2, 3] = 255
    assert Image.open(write_mask(png(one), tmp_path / "mask")).getpixel((3, 2)) == 255


def test_a_data_url_holds_the_file(tmp_path: Path) -> None:
    assert base64.b64decode(data_url(b"abc").split(",")[1]) == b"abc"
