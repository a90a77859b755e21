"""Pseudo-inverses by Moore and Penrose's own conditions, on matrices written out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from functional.corruption import Composition, Gaussian, Masking, SaltAndPepper
from functional.degradation import JPEG, Blur, Downsample, Grey
from functional.linear_operators import (
    Identity,
    consistent,
    linear_operator,
    measurement_std,
    null_part,
    spectral,
)
from functional.masking import MaskOperator
from functional.seeding import ImageNoise

SHAPE = (3, 6, 4)
BOX = torch.zeros(1, 1, *SHAPE[1:], dtype=torch.bool)
BOX[..., 1:4, 1:3] = True
CANVAS = torch.ones(1, 1, *SHAPE[1:], dtype=torch.bool)
CANVAS[..., 2:] = False
OPERATORS: dict[str, Any] = {
    "random": Masking(0.5, value=0.0).draw(ImageNoise([0]), SHAPE),
    "box": MaskOperator("box", BOX),
    "outpaint": MaskOperator("outpaint", CANVAS),
    "grey": Grey(),
    "down-sampling": Downsample(2),
    "blur": Blur(0.7),
    "identity": Identity(),
}
TOLERANCE = 1e-9


def matrix(function: Any) -> Tensor:
    """The matrix of a linear map of images of ``SHAPE``, float64."""
    size = SHAPE[0] * SHAPE[1] * SHAPE[2]
    impulses = torch.eye(size, dtype=torch.float64)
    return torch.cat([function(row.view(1, *SHAPE)).reshape(1, -1) for row in impulses]).T


@pytest.mark.parametrize("name", OPERATORS)
def test_pinv_is_the_pseudo_inverse(name: str) -> None:
    a, plus = matrix(OPERATORS[name].apply), matrix(OPERATORS[name].pinv)
    torch.testing.assert_close(a @ plus @ a, a, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(plus @ a @ plus, plus, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(plus, torch.linalg.pinv(a, rtol=1e-6), atol=1e-6, rtol=0)
    assert name == "identity" or not torch.equal(a, torch.eye(len(a)))


@pytest.mark.parametrize("name", OPERATORS)
def test_a_spectral_function_is_one_of_a_transposed_a(name: str) -> None:
    a = matrix(OPERATORS[name].apply)
    square = matrix(lambda x: spectral(OPERATORS[name], x, lambda s: 3 * s**2 + 2))
    torch.testing.assert_close(square, 3 * a.T @ a + 2 * torch.eye(len(a)), atol=1e-8, rtol=0)


def test_of_a_strong_blur_only_what_float32_holds_is_restored() -> None:
    blur = Blur(1.5)
    a, plus = matrix(blur.apply), matrix(blur.pinv)
    torch.testing.assert_close(a @ plus @ a, a, atol=1.1e-4, rtol=0)
    images = torch.rand(2, 3, 28, 28)
    residual = blur.apply(blur.pinv(blur.apply(images))) - blur.apply(images)
    assert residual.abs().max() < 1e-3


@pytest.mark.parametrize("fill", [0.0, -1.0])
def test_what_stands_at_hidden_pixels_is_no_part_of_the_measurement(fill: float) -> None:
    operator = MaskOperator("box", BOX, fill)
    images, other = torch.rand(2, 2, *SHAPE) * 2 - 1
    measured = operator.apply(images)
    made = consistent(operator, other, measured)
    assert torch.equal(operator.apply(made), measured)
    assert torch.equal(made, operator.paste(other, measured))
    assert torch.equal(operator.pinv(measured), operator.pinv(operator.apply(images)))
    assert operator.pinv(null_part(operator, other)).count_nonzero() == 0


def test_the_noise_is_left_out_and_its_level_kept() -> None:
    noise, images = ImageNoise([0, 1]), torch.rand(2, *SHAPE)
    for corruption, wanted in (
        (Gaussian(0.25), Identity()),
        (Composition([Grey(), Gaussian(0.25)]), Grey()),
    ):
        operator = corruption.draw(noise, SHAPE)
        assert linear_operator(operator) == wanted
        assert measurement_std(operator, images).flatten().tolist() == [0.5, 0.5]
    assert linear_operator(Blur(1.0)) == Blur(1.0)
    assert measurement_std(Blur(1.0), images).tolist() == [[[[0.0]]]] * 2


@pytest.mark.parametrize(
    "corruption",
    [
        JPEG(10),
        SaltAndPepper(0.3),
        Composition([Gaussian(0.1), Grey()]),
        Composition([Grey(), Blur(1.0)]),
    ],
)
def test_what_is_not_linear_is_refused(corruption: Any) -> None:
    operator = corruption.draw(ImageNoise([0]), SHAPE)
    with pytest.raises(ValueError, match="is not linear, and a model of images alone restores"):
        linear_operator(operator)
