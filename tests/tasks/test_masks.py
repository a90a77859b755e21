"""Masks of a user: what is hidden, and what does not fit the image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tasks.masks import Mask
from tasks.sources import Source

SHAPE = (1, 8, 8)


def mask(**given: Any) -> Mask:
    usual = {"file": None, "box": None, "strokes": None, "patches": None, "patch": 4, "seed": 0}
    return Mask(**{**usual, **given})


def source(path: Path, size: tuple[int, int]) -> Source:
    Image.new("L", size).save(path)
    return Source(path, path.stem)


def drawn(path: Path, size: tuple[int, int], *white: tuple[int, int, int, int]) -> Path:
    """A mask file with white rectangles (top, left, bottom, right)."""
    pixels = np.zeros((size[1], size[0]), dtype=np.uint8)
    for top, left, bottom, right in white:
        pixels[top:bottom, left:right] = 255
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "give one of .*here none"),
        ({"box": [0, 0, 2, 2], "strokes": 2}, "here mask.box and mask.strokes"),
        ({"box": [0, 0, 2]}, r"expected \[top,left,height,width\]"),
        ({"box": [0, 0, 2, 0]}, r"expected \[top,left,height,width\]"),
        ({"strokes": 0}, "expected 1 to 100"),
        ({"patches": 1.0}, "expected a share between 0 and 1"),
        ({"strokes": 1, "seed": -1}, "negative"),
    ],
)
def test_settings_that_hide_nothing_sensible_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        mask(**given)


def test_a_box_is_hidden_and_must_lie_within_the_models_pixels() -> None:
    box = mask(box=[1, 2, 3, 4])
    box.check([], SHAPE)
    hidden = box.hidden([Source(Path("a"), "a")] * 2, SHAPE)
    assert hidden.shape == (2, 1, 8, 8) and hidden.sum() == 2 * 12
    assert hidden[0, 0, 1:4, 2:6].all()
    for wrong in ([6, 2, 3, 4], [1, 5, 3, 4], [-1, 0, 3, 3]):
        with pytest.raises(ValueError, match="reaches over the model's 8 x 8 pixels"):
            mask(box=wrong).check([], SHAPE)


def test_patches_hide_their_share_and_must_fit_the_image() -> None:
    patches = mask(patches=0.75)
    patches.check([], SHAPE)
    assert patches.hidden([Source(Path("a"), "a")], SHAPE).float().mean() == 0.75
    with pytest.raises(ValueError, match="does not divide into patches of 3"):
        mask(patches=0.5, patch=3).check([], SHAPE)


def test_a_mask_goes_through_its_images_crop_and_hides_each_pixel_it_touches(
    tmp_path: Path,
) -> None:
    # 24 x 16 pixels: the middle 16 columns count, and 2 x 2 pixels become one.
    image = source(tmp_path / "a.png", (24, 16))
    file = mask(file=str(drawn(tmp_path / "m.png", (24, 16), (3, 4, 4, 5), (0, 0, 16, 3))))
    file.check([image], SHAPE)
    hidden = file.hidden([image], SHAPE)
    assert hidden.nonzero().tolist() == [[0, 0, 1, 0]]


def test_a_mask_of_the_models_size_is_taken_as_it_is(tmp_path: Path) -> None:
    image = source(tmp_path / "a.png", (24, 16))
    file = mask(file=str(drawn(tmp_path / "m.png", (8, 8), (2, 3, 4, 6))))
    file.check([image], SHAPE)
    expected = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    expected[..., 2:4, 3:6] = True
    assert torch.equal(file.hidden([image], SHAPE), expected)


def test_a_mask_of_another_size_is_refused_before_anything_is_decoded(tmp_path: Path) -> None:
    image = source(tmp_path / "a.png", (24, 16))
    file = mask(file=str(drawn(tmp_path / "m.png", (16, 24))))
    with pytest.raises(ValueError, match=r"m\.png has 16 x 24 pixels, but .*a\.png has 24 x 16"):
        file.check([image], SHAPE)


def test_a_folder_of_masks_has_one_of_each_name(tmp_path: Path) -> None:
    images = [source(tmp_path / f"{name}.png", (8, 8)) for name in "ab"]
    (tmp_path / "masks").mkdir()
    drawn(tmp_path / "masks" / "a.bmp", (8, 8), (0, 0, 1, 1))
    folder = mask(file=str(tmp_path / "masks"))
    with pytest.raises(FileNotFoundError, match=r"holds no mask for .*b\.png"):
        folder.check(images, SHAPE)
    drawn(tmp_path / "masks" / "b.png", (8, 8), (0, 0, 2, 1))
    folder.check(images, SHAPE)
    assert folder.hidden(images, SHAPE).sum(dim=(1, 2, 3)).tolist() == [1, 2]
