from __future__ import annotations

import pytest
import torch

from functional.fill import bilinear_fill, mean_fill, median_filter


def test_mean_fill_is_the_mean_of_visible_pixels_of_each_image_and_channel() -> None:
    images = torch.arange(32.0).view(2, 1, 4, 4)
    hidden = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    hidden[:, :, 2:] = True
    filled = mean_fill(images, hidden)
    assert filled[0, 0, 3, 3] == 3.5 and filled[1, 0, 2, 0] == 19.5
    assert torch.equal(filled[:, :, :2], images[:, :, :2])


@pytest.mark.parametrize("size", [(8, 8), (7, 10)])
def test_bilinear_fill_gives_back_a_constant_image_from_one_pixel(size: tuple[int, int]) -> None:
    hidden = torch.ones(1, 1, *size, dtype=torch.bool)
    hidden[0, 0, 5, 2] = False
    filled = bilinear_fill(torch.full((1, 3, *size), 0.25), hidden)
    torch.testing.assert_close(filled, torch.full((1, 3, *size), 0.25))


def test_an_image_is_filled_from_itself_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 1, 8, 8, generator=generator)
    hidden = torch.rand(2, 1, 8, 8, generator=generator) < 0.8
    together = bilinear_fill(images, hidden)
    assert torch.equal(together[:1], bilinear_fill(images[:1], hidden[:1]))
    assert bilinear_fill(images, torch.ones_like(hidden)).abs().max() == 0


def test_median_filter_takes_out_a_lone_pixel_and_refuses_an_even_size() -> None:
    images = torch.zeros(1, 1, 5, 5)
    images[0, 0, 2, 2] = 1
    assert median_filter(images).abs().max() == 0
    with pytest.raises(ValueError, match="odd size"):
        median_filter(images, 4)
