"""Chains from noise, on densities whose posterior and score are known in closed form."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from functional.chain_sampling import ChainSampling
from functional.chains import (
    annealed_langevin,
    geometric_levels,
    renoising_stds,
    uniform_start,
    walkback,
)
from functional.masking import BatchNoise, Noise
from functional.seeding import ImageNoise

# Images of one pixel: -0.6 with probability 0.3, else 0.6, and a little noise around.
MODES, SHARES, SPREAD = torch.tensor([-0.6, 0.6]), torch.tensor([0.3, 0.7]), 0.05
SHAPE = (1, 1, 1)


def posterior(noisy: Tensor, std: float) -> tuple[Tensor, Tensor, float]:
    """P(mode | noisy) and the mean of x in each, ``(N, 2)``, and the deviation of x there."""
    total = SPREAD**2 + std**2
    logits = SHARES.log() - (noisy.flatten()[:, None] - MODES).square() / (2 * total)
    means = (MODES * std**2 + noisy.flatten()[:, None] * SPREAD**2) / total
    return logits.softmax(dim=1), means, SPREAD * std / math.sqrt(total)


def draw_exactly(noisy: Tensor, noise: Noise, std: float) -> Tensor:
    weights, means, deviation = posterior(noisy, std)
    second = torch.special.ndtr(noise(1))[:, 0] > weights[:, 0]
    drawn = torch.where(second, means[:, 1], means[:, 0]) + deviation * noise(1)[:, 0]
    return drawn.view(-1, *SHAPE)


def denoise_exactly(noisy: Tensor, std: float) -> Tensor:
    weights, means, _ = posterior(noisy, std)
    return (weights * means).sum(dim=1).view(-1, *SHAPE)


def shares_of_modes(images: Tensor) -> tuple[float, float]:
    """Shares of images within 0.2 of each mode."""
    near = (images.flatten()[:, None] - MODES).abs() < 0.2
    return tuple(near.float().mean(dim=0).tolist())  # type: ignore[return-value]


def walk(noise: Noise, sweeps: int, std: float = 0.5, trace: Any = None) -> Tensor:
    return walkback(
        lambda x: x + std * noise(*SHAPE),
        lambda noisy: draw_exactly(noisy, noise, std),
        uniform_start(noise, SHAPE),
        sweeps,
        trace,
    )


def test_walkback_chains_end_at_both_modes_as_often_as_the_data_lie_there() -> None:
    torch.manual_seed(0)
    images = walk(BatchNoise(2000, "cpu"), 40)
    assert shares_of_modes(images) == pytest.approx((0.3, 0.7), abs=4 * math.sqrt(0.21 / 2000))
    upper = images[images > 0]
    assert upper.std() == pytest.approx(SPREAD, rel=0.1)


def test_one_chain_visits_both_modes() -> None:
    seen: list[float] = []
    walk(ImageNoise([3]), 300, trace=lambda sweep, x, shown: seen.append(float(x)))
    assert len(seen) == 300 and min(shares_of_modes(torch.tensor(seen))) > 0.1


def test_a_chain_is_of_its_own_seed_and_tells_every_sweep() -> None:
    told: list[int] = []
    together = walk(ImageNoise([5, 6, 7]), 4, trace=lambda sweep, x, shown: told.append(sweep))
    assert told == [1, 2, 3, 4]
    assert torch.equal(walk(ImageNoise([6]), 4), together[1:2])


def langevin(n: int, high: float = 2.0) -> Tensor:
    torch.manual_seed(0)
    noise = BatchNoise(n, "cpu")
    stds = geometric_levels(high, 0.02, 12)
    start = high * noise(*SHAPE)
    return annealed_langevin(denoise_exactly, start, stds, 20, 0.4, noise)


def test_annealed_langevin_ends_at_both_modes() -> None:
    """Frozen shares are those of the levels at which modes part: near the data's, not equal."""
    images = langevin(1500)
    low, high = shares_of_modes(images)
    assert low + high > 0.98 and low == pytest.approx(0.3, abs=0.08)


def variance_of_the_chain(s: float, stds: Tensor, repeats: int, eta: float) -> float:
    """Of a variable from N(0, s^2 + stds[0]^2): each step scales it and adds to its variance."""
    told = [std for std in stds.tolist() for _ in range(repeats)]
    variance = s**2 + told[0] ** 2
    for std, target in pairwise(told):
        kept = 1 - eta * std**2 / (s**2 + std**2)
        variance = kept**2 * variance + target**2 - (1 - eta) ** 2 * std**2
    return variance * (s**2 / (s**2 + told[-1] ** 2)) ** 2


def test_langevin_of_a_gaussian_has_its_moments() -> None:
    """On N(0, s^2) the denoiser is s^2 / (s^2 + sigma^2), and all is linear."""
    s, n, stds = 0.4, 20_000, geometric_levels(1.0, 0.02, 20)
    torch.manual_seed(0)
    noise = BatchNoise(n, "cpu")
    start = math.sqrt(s**2 + 1) * noise(*SHAPE)
    images = annealed_langevin(
        lambda x, std: x * s**2 / (s**2 + std**2), start, stds, 4, 0.3, noise
    )
    wanted = math.sqrt(variance_of_the_chain(s, stds, 4, 0.3))
    assert images.mean() == pytest.approx(0, abs=4 * wanted / math.sqrt(n))
    assert images.std() == pytest.approx(wanted, rel=4 / math.sqrt(2 * n))
    slow = variance_of_the_chain(s, geometric_levels(1.0, 0.02, 400), 100, 0.02)
    assert math.sqrt(slow) == pytest.approx(s, rel=0.01)


@pytest.mark.parametrize(("levels", "repeats", "eta"), [(30, 1, 0.5), (12, 3, 1.0)])
def test_the_network_is_told_the_noise_there_is(levels: int, repeats: int, eta: float) -> None:
    """Of data that are one point the estimate is that point, and the rest of the chain is noise."""
    torch.manual_seed(0)
    noise, point, off = BatchNoise(20_000, "cpu"), 0.3, []
    stds = geometric_levels(2.0, 0.02, levels)

    def denoise(x: Tensor, std: float) -> Tensor:
        off.append(float((x - point).std()) / std - 1)
        return torch.full_like(x, point)

    images = annealed_langevin(denoise, point + 2 * noise(*SHAPE), stds, repeats, eta, noise)
    assert len(off) == levels * repeats and (images == point).all()
    assert max(abs(value) for value in off) < 0.03


def test_levels_fall_by_equal_factors() -> None:
    levels = geometric_levels(0.8, 0.05, 5)
    assert levels[0] == pytest.approx(0.8) and levels[-1] == pytest.approx(0.05)
    torch.testing.assert_close(levels[1:] / levels[:-1], torch.full((4,), 0.5, dtype=levels.dtype))


def test_the_start_is_uniform_in_the_range() -> None:
    start = uniform_start(ImageNoise(range(500)), (1, 4, 4))
    assert start.abs().max() <= 1 and start.mean() == pytest.approx(0, abs=0.03)
    assert start.std() == pytest.approx(2 / math.sqrt(12), rel=0.03)


def settings(**changes: Any) -> ChainSampling:
    given = {"sampler": "walkback", "steps": 5, "repeats": 2, "step_size": 0.5, "components": 3}
    return ChainSampling(**{**given, **changes})  # type: ignore[arg-type]


def test_the_record_says_which_chain_and_counts_its_evaluations() -> None:
    assert settings().record()["nfe"] == 5
    assert "Bengio" in settings().record()["sampler"]
    langevin_record = settings(sampler="langevin").record()
    assert langevin_record["nfe"] == 10 and "NCSN-like" in langevin_record["sampler"]
    codes = settings(sampler="codes").record()
    assert codes["nfe"] == 1 and "not claimed by the paper, 3 components" in codes["sampler"]
    assert settings(sampler=None).record() == {}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: settings(sampler="gibbs"), "unknown sampler 'gibbs'; known: walkback"),
        (lambda: settings(steps=0), "steps=0"),
        (lambda: settings(step_size=0.0), "step_size=0.0"),
        (lambda: settings(step_size=1.1), "step_size=1.1"),
        (
            lambda: renoising_stds(geometric_levels(1.0, 0.01, 3), 2, 0.5),
            "next of 3 levels has; use more levels, or a step size of 0.9 or more",
        ),
        (lambda: geometric_levels(0.1, 0.0, 5), "0 < low <= high"),
        (lambda: geometric_levels(0.1, 0.2, 5), "0 < low <= high"),
        (lambda: geometric_levels(0.2, 0.1, 1), "at least 2 levels"),
    ],
)
def test_what_makes_no_chain_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
