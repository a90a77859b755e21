"""LARS against its formula, written out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from functional.lars import LARS, trust_ratio

ETA, BETA, MOMENTUM, RATE = 0.01, 0.1, 0.9, 0.5


def gradients(steps: int, *shape: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, generator=generator) for _ in range(steps)]


def test_steps_follow_equation_6_of_the_paper() -> None:
    weight = nn.Parameter(torch.linspace(-1, 2, 12).view(3, 4))
    expected, velocity = weight.detach().double(), torch.zeros(3, 4, dtype=torch.float64)
    optimizer = LARS([weight], RATE, MOMENTUM, BETA, ETA)
    for gradient in gradients(4, 3, 4):
        weight.grad = gradient
        optimizer.step()
        g, w = gradient.double(), expected
        norms = w.square().sum().sqrt(), g.square().sum().sqrt()
        rate = ETA * norms[0] / (norms[1] + BETA * norms[0])
        velocity = MOMENTUM * velocity + rate * (g + BETA * w)
        expected = expected - RATE * velocity
    torch.testing.assert_close(weight.detach().double(), expected, rtol=1e-5, atol=1e-6)


def test_a_layer_moves_by_the_same_share_whatever_the_size_of_its_gradient() -> None:
    moved = []
    for size in (1.0, 1e4):
        weight = nn.Parameter(torch.ones(3, 4))
        weight.grad = size * gradients(1, 3, 4)[0]
        LARS([weight], RATE, trust_coefficient=ETA).step()
        moved.append(float((weight.detach() - 1).norm() / torch.ones(3, 4).norm()))
    assert moved == pytest.approx([RATE * ETA] * 2, rel=1e-4)


def test_biases_take_sgd_steps_and_do_not_decay() -> None:
    ours, theirs = (nn.Parameter(torch.ones(5)) for _ in range(2))
    lars, sgd = LARS([ours], RATE, MOMENTUM, BETA), torch.optim.SGD([theirs], RATE, MOMENTUM)
    for gradient in gradients(3, 5):
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        lars.step()
        sgd.step()
    torch.testing.assert_close(ours, theirs)


def test_weights_of_zero_and_gradients_of_zero_have_a_ratio_of_one() -> None:
    zero, one = torch.zeros(2, 2), torch.ones(2, 2)
    assert trust_ratio(zero, one, ETA, 0.0) == trust_ratio(one, zero, ETA, 0.0) == 1


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"momentum=1.0.*expected"):
        LARS([nn.Parameter(torch.ones(2))], 0.1, momentum=1.0)
