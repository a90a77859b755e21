from __future__ import annotations

from itertools import permutations

import pytest
import torch
from torch import Tensor

from functional.pairing import OptimalTransport


def cost(images: Tensor, noise: Tensor) -> float:
    return float((images - noise).square().sum())


def test_no_other_pairing_is_shorter() -> None:
    torch.manual_seed(0)
    images, noise = torch.randn(6, 1, 2, 2), torch.randn(6, 1, 2, 2)
    best = min(cost(images, noise[list(order)]) for order in permutations(range(6)))
    assert cost(images, OptimalTransport()(images, noise)) == pytest.approx(best)


def test_the_noise_is_the_same_in_another_order() -> None:
    images, noise = torch.randn(40, 1, 3, 3), torch.randn(40, 1, 3, 3)
    paired = OptimalTransport()(images, noise)
    assert paired.dtype == noise.dtype
    assert sorted(paired.flatten(1).tolist()) == sorted(noise.flatten(1).tolist())
    assert cost(images, paired) < cost(images, noise)


def test_in_one_dimension_the_order_of_images_is_that_of_their_noise() -> None:
    images, noise = torch.randn(50, 1), torch.randn(50, 1)
    paired = OptimalTransport()(images, noise).flatten()
    assert torch.equal(paired[images.flatten().argsort()], noise.flatten().sort().values)
