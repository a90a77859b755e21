from __future__ import annotations

import pytest
import torch

from functional.images import to_float, to_uint8


def test_every_byte_survives_the_way_to_float_and_back() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    floats = to_float(levels)
    assert floats.dtype == torch.float32
    assert floats[0] == -1 and floats[255] == 1
    assert torch.equal(to_uint8(floats), levels)


def test_bytes_are_rounded_to_the_nearest_level_not_cut() -> None:
    level = torch.tensor([99.4, 99.6, 254.9])
    assert to_uint8(level / 127.5 - 1).tolist() == [99, 100, 255]


def test_values_outside_are_clamped_and_do_not_wrap() -> None:
    assert to_uint8(torch.tensor([1.01, 5.0, -1.01, -300.0])).tolist() == [255, 255, 0, 0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_float_type_is_taken(dtype: torch.dtype) -> None:
    assert to_uint8(torch.tensor([-1.0, 0.0, 1.0], dtype=dtype)).tolist() == [0, 128, 255]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_an_image_of_a_diverged_model_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        to_uint8(torch.tensor([0.0, value]))


def test_integers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"torch\.uint8"):
        to_uint8(torch.zeros(2, dtype=torch.uint8))


def test_to_float_leaves_its_input_as_it_is() -> None:
    pixels = torch.tensor([7, 8], dtype=torch.uint8)
    to_float(pixels)
    assert pixels.tolist() == [7, 8]
