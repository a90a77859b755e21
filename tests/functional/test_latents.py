from __future__ import annotations

import math

import torch

from functional.latents import slerp, truncate


def test_slerp_keeps_to_the_circle_at_equal_angles() -> None:
    a, b = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    for weight in (0.0, 0.25, 0.5, 1.0):
        angle = weight * math.pi / 2
        wanted = 2 * torch.tensor([[math.cos(angle), math.sin(angle)]])
        torch.testing.assert_close(slerp(a, b, weight), wanted, atol=1e-6, rtol=0)


def test_slerp_of_parallel_latents_is_finite_and_interpolates_lengths() -> None:
    a = torch.tensor([[3.0, 4.0]])
    torch.testing.assert_close(slerp(a, 3 * a, 0.5), 2 * a)


def test_slerp_of_gaussian_latents_stays_as_long_as_they_are() -> None:
    a, b = torch.randn(2, 200, 64, generator=torch.Generator().manual_seed(0))
    middle = slerp(a, b, 0.5).norm(dim=1).mean() / 8
    assert abs(float(middle) - 1) < 0.02 < 1 - float(((a + b) / 2).norm(dim=1).mean() / 8)


def test_truncation_shortens_long_latents_and_leaves_short_ones() -> None:
    z = torch.tensor([[3.0, 4.0], [0.1, 0.0]])
    short = truncate(z, 1.0)
    torch.testing.assert_close(short[0], z[0] / 5 * 2**0.5)
    assert torch.equal(short[1], z[1])
    assert truncate(z, None) is z
