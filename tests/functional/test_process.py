"""Both processes at the same times, for data of which the drift is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from functional.ode_solvers import heun
from functional.process import evenly_noisy, process
from functional.time_grid import time_grid
from tests.functional.gaussian_data import MEAN, SCHEDULES, STD, best_denoiser

FAMILIES = ["linear", "cosine", "path", "exploding"]


def noise(seed: int, n: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 1, 1, 1, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("family", FAMILIES)
def test_both_processes_have_the_moments_of_x_t_at_every_time(family: str) -> None:
    schedule, n = SCHEDULES[family], 4000
    grid = time_grid(schedule, 60, "karras")
    states: list[Tensor] = []
    last = heun(
        best_denoiser(schedule), schedule.prior_std * noise(999, n), grid, schedule, noise,
        lambda k, x_t, x0: states.append(x_t),
    )  # fmt: skip
    field = torch.linspace(-1, 1, 5, dtype=torch.float64).view(5, 1, 1, 1)
    seen = process(
        best_denoiser(schedule), schedule, grid, [*states, last], MEAN + STD * noise(-1, n),
        noise(-2, n), field, 7,
    )  # fmt: skip
    assert seen.times[0] == schedule.t_max and seen.times[-1] == 0
    assert (seen.times.diff() < 0).all() and 5 <= len(seen.times) <= 7
    assert len(seen.drift) == len(seen.times) - 1
    for k, t in enumerate(seen.times):
        alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
        std = (alpha**2 * STD**2 + sigma**2) ** 0.5
        for states_of in (seen.forward, seen.reverse):
            assert float(states_of[k].mean()) == pytest.approx(alpha * MEAN, abs=0.06 * std)
            assert float(states_of[k].std()) == pytest.approx(std, rel=0.06)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_drift_leads_to_the_mean_of_the_earlier_state(family: str) -> None:
    """x_s and x_t of Gaussian data are jointly Gaussian: their moments give E[x_s | x_t]."""
    schedule = SCHEDULES[family]
    grid = time_grid(schedule, 10, "karras")
    field = torch.linspace(-1, 1, 5, dtype=torch.float64).view(5, 1, 1, 1)
    seen = process(
        best_denoiser(schedule), schedule, grid, [field] * len(grid), field, field, field, 100
    )
    for t, s, drift in zip(seen.times, grid[1:], seen.drift, strict=False):
        (a_t, b_t), (a_s, b_s) = ((schedule.alpha(u), schedule.sigma(u)) for u in (t, s))
        covariance = a_t * a_s * STD**2 + (a_t / a_s) * b_s**2
        slope = covariance / (a_t**2 * STD**2 + b_t**2)
        wanted = a_s * MEAN + slope * (field - a_t * MEAN)
        torch.testing.assert_close(field + drift, wanted, rtol=1e-9, atol=1e-9)


def test_times_are_picked_where_noise_grows_evenly() -> None:
    schedule = SCHEDULES["path"]
    grid = time_grid(schedule, 1000)
    picked = grid[evenly_noisy(grid, schedule, 5)]
    share = picked / (picked + (1 - picked) * 0.5)
    torch.testing.assert_close(share, torch.linspace(1, 0, 5).double(), rtol=0, atol=2e-3)
