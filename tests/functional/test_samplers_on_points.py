"""Every sampler turns noise into the swiss roll when the denoiser is the best there is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from datamodules.points import SwissRoll
from functional.energy_distance import energy_distance
from functional.noise_schedule import (
    LinearPath,
    NoiseSchedule,
    VarianceExploding,
    VariancePreserving,
)
from functional.oracle import BestDenoiser, Mixture
from functional.samplers import SAMPLERS
from functional.time_grid import time_grid

LEVEL = 0.004
"""Energy distance that samples must stay below; a Gaussian like the roll has twice that."""

SCHEDULES: dict[str, NoiseSchedule] = {
    "chain": VariancePreserving(100, "cosine"),
    "path": LinearPath(),
    "exploding": VarianceExploding(0.01, 20.0),
}


def roll() -> SwissRoll:
    return SwissRoll(
        batch_size=8, channels=2, image_size=1, num_classes=0, seed=0, size=800,
        validation_size=2, test_size=1000, noise=0.03,
    )  # fmt: skip


def best_denoiser(points: Tensor, schedule: NoiseSchedule, width: float = 0.015) -> BestDenoiser:
    """Of data that are each of ``points`` plus Gaussian noise of ``width``: the roll once more."""
    every = torch.ones(len(points))
    return BestDenoiser(Mixture(every, points, width * every), schedule)


@pytest.fixture(scope="module")
def data() -> SwissRoll:
    return roll()


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("family", SCHEDULES)
def test_the_roll_comes_back(name: str, family: str, data: SwissRoll) -> None:
    schedule, n = SCHEDULES[family], 600
    stream = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Tensor:
        return torch.randn(n, *shape, generator=stream, dtype=torch.float64)

    options: dict[str, Any] = {"variance": "fixed_small"} if name == "ancestral" else {}
    steps = 30 if name in ("heun", "dpm_solver_pp") else 80
    made = SAMPLERS[name](
        best_denoiser(data.points("train"), schedule), schedule.prior_std * noise(2, 1, 1),
        time_grid(schedule, steps, "karras"), schedule, noise, **options,
    )  # fmt: skip
    real = data.points("test").double()
    assert energy_distance(made, real) < LEVEL
    off = torch.cdist(made.flatten(1), real.flatten(1)).amin(dim=1)
    assert float(off.quantile(0.99)) < 0.1, "points lie between the windings"


def test_the_level_tells_the_roll_from_a_gaussian_of_its_mean_and_covariance(
    data: SwissRoll,
) -> None:
    real = data.points("test").flatten(1).double()
    factor = torch.linalg.cholesky(real.T.cov())
    generator = torch.Generator().manual_seed(0)
    like = torch.randn(1000, 2, generator=generator, dtype=torch.float64) @ factor.T + real.mean(0)
    assert energy_distance(like, real) > 1.5 * LEVEL
    assert energy_distance(data.points("train"), real) < LEVEL / 2
