from __future__ import annotations

import pytest
import torch
from torch import Tensor

from functional.offset_noise import OffsetNoise, with_offset
from functional.seeding import ImageNoise


def covariance(noise: Tensor) -> Tensor:
    return torch.cov(noise.flatten(1).T)


@pytest.mark.parametrize("source", ["training", "sampling"])
def test_the_covariance_within_a_channel_is_the_identity_plus_the_square(source: str) -> None:
    torch.manual_seed(0)
    n, strength = 20_000, 0.5
    if source == "training":
        noise = with_offset(torch.randn(n, 2, 2, 2), strength)
    else:
        noise = OffsetNoise(ImageNoise(range(n)), strength)(2, 2, 2)
    blocks = torch.block_diag(torch.ones(4, 4), torch.ones(4, 4))
    torch.testing.assert_close(
        covariance(noise), torch.eye(8) + strength**2 * blocks, rtol=0, atol=0.05
    )


def test_without_an_offset_nothing_is_drawn() -> None:
    noise = torch.randn(2, 1, 4, 4)
    state = torch.get_rng_state()
    assert with_offset(noise, 0.0) is noise
    assert torch.equal(torch.get_rng_state(), state)
    plain, wrapped = ImageNoise([1, 2]), OffsetNoise(ImageNoise([1, 2]), 0.0)
    for _ in range(2):
        assert torch.equal(plain(1, 4, 4), wrapped(1, 4, 4))
