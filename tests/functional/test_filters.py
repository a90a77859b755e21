from __future__ import annotations

import math

import pytest
import torch

from functional.filters import filter_pictures, filter_shape


def test_pictures_fill_the_range_and_0_is_mid_grey() -> None:
    filters = torch.zeros(2, 1, 3, 3)
    filters[0, 0, 1, 1], filters[0, 0, 0, 0] = -4.0, 2.0
    shown = filter_pictures(filters)
    assert shown[0, 0, 1, 1] == -1 and shown[0, 0, 0, 0] == 0.5 and not shown[1].any()


def test_one_pixel_a_square_and_the_whole_image() -> None:
    filters = torch.zeros(3, 2, 12, 12)
    filters[0, 0, 3, 9] = -2.0
    filters[1, :, 2:6, 5:9] = 0.5
    filters[2] = 1.0
    shape = filter_shape(filters)
    assert shape.extent.tolist() == pytest.approx([1, 16, 144])
    # The variance of n equal places is (n^2 - 1) / 12, and there are two axes.
    expected = [0, math.sqrt(2 * 15 / 12), math.sqrt(2 * 143 / 12)]
    assert shape.radius.tolist() == pytest.approx(expected)
    assert shape.frequency[2] == pytest.approx(0)


@pytest.mark.parametrize("cycles", [(0, 3), (4, 3)])
def test_the_frequency_of_a_grating_is_its_own(cycles: tuple[int, int]) -> None:
    place = torch.arange(16) / 16
    phase = 2 * math.pi * (cycles[0] * place[:, None] + cycles[1] * place)
    found = filter_shape(torch.cos(phase).view(1, 1, 16, 16)).frequency
    assert found.item() == pytest.approx(math.hypot(*cycles) / 16)


def test_white_noise_has_the_mean_frequency_of_a_square() -> None:
    noise = torch.randn(400, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    shape = filter_shape(noise)
    # Mean distance from the centre of a unit square.
    expected = (math.sqrt(2) + math.log(1 + math.sqrt(2))) / 6
    assert shape.frequency.mean().item() == pytest.approx(expected, rel=0.01)
    assert shape.extent.mean().item() == pytest.approx(784 / 3, rel=0.03)
