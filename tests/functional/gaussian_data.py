"""Data N(m, s^2), for which the best denoiser and the whole path of every sampler are known."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from functional.noise_schedule import (
    LinearPath,
    NoiseSchedule,
    VarianceExploding,
    VariancePreserving,
)
from functional.samplers import SAMPLERS
from functional.time_grid import time_grid

MEAN, STD = 0.4, 0.3
SCHEDULES: dict[str, NoiseSchedule] = {
    "linear": VariancePreserving(1000, "linear"),
    "cosine": VariancePreserving(1000, "cosine"),
    "sigmoid": VariancePreserving(1000, "sigmoid"),
    "zero_snr": VariancePreserving(4000, "linear", rescale=True, zero_terminal_snr=True),
    "path": LinearPath(),
    "exploding": VarianceExploding(),
}


def best_denoiser(schedule: NoiseSchedule) -> Any:
    """E[x_0 | x_t], by the rule for products of Gaussians."""

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        return (STD**2 * alpha * x + sigma**2 * MEAN) / (alpha**2 * STD**2 + sigma**2)

    return denoise


def moments(
    schedule: NoiseSchedule, sampler: str, steps: int, spacing: str, **options: Any
) -> tuple[float, float]:
    """Mean and standard deviation of the sampler's output, exact: no Monte Carlo.

    The denoiser is affine, so the output is affine in the starting noise and in each draw along
    the way. Row 0 runs without noise and gives the mean; every other row has one unit impulse.
    """
    x = torch.zeros(steps + 2, 1, 1, 1, dtype=torch.float64)
    x[1] = schedule.prior_std
    draws = 0

    def impulse(*shape: int) -> Tensor:
        nonlocal draws
        noise = torch.zeros(len(x), *shape, dtype=torch.float64)
        noise[2 + draws] = 1
        draws += 1
        return noise

    times = time_grid(schedule, steps, spacing)
    denoiser = best_denoiser(schedule)
    out = SAMPLERS[sampler](denoiser, x, times, schedule, impulse, **options).flatten()
    return float(out[0]), float((out[1:] - out[0]).norm())


def error(schedule: NoiseSchedule, sampler: str, steps: int, spacing: str, **options: Any) -> float:
    """Distance of the sampler's mean and standard deviation from those of the data."""
    mean, std = moments(schedule, sampler, steps, spacing, **options)
    return abs(mean - MEAN) + abs(std - STD)


def flow_error(schedule: NoiseSchedule, sampler: str, steps: int, spacing: str) -> float:
    """Distance from the exact flow of the ODE, on which (x - alpha m) / std(x_t) is constant."""
    mean, std = moments(schedule, sampler, steps, spacing)
    start = time_grid(schedule, steps, spacing)[0]
    alpha, sigma = float(schedule.alpha(start)), float(schedule.sigma(start))
    scale = STD / (alpha**2 * STD**2 + sigma**2) ** 0.5
    return abs(mean - (MEAN - scale * alpha * MEAN)) + abs(std - scale * schedule.prior_std)
