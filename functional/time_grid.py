"""At which times a sampler evaluates its denoiser."""

from __future__ import annotations

import torch
from torch import Tensor

from functional.noise_schedule import NoiseSchedule, VarianceExploding

SPACINGS = ("trailing", "leading", "linspace", "quadratic", "karras", "log_snr")


def time_grid(schedule: NoiseSchedule, steps: int, spacing: str = "trailing") -> Tensor:
    """Give ``(steps + 1,)`` falling times from the noise end to 0, float64.

    * trailing: equal steps that end at 0 and begin at the very last time (Lin et al. 2024).
    * leading: equal steps 1, 1 + T/K, ... of the chain, as DDIM's code (starts below T).
    * linspace: K equal points from the last time to the first, then 0.
    * quadratic: as linspace in sqrt(t), the CIFAR-10 choice of DDIM (Song et al. 2021, app. D.2).
    * karras: (sigma/alpha)^(1/7) falls linearly (Karras et al. 2022, eq. 5).
    * log_snr: ln(sigma/alpha) falls linearly (Lu et al. 2022).

    Raises:
        ValueError: for an unknown spacing, or steps below 1 or above T of a Markov chain.
    """
    if spacing not in SPACINGS:
        raise ValueError(f"unknown spacing {spacing!r}; known: {', '.join(SPACINGS)}")
    if steps < 1 or (schedule.discrete and steps > schedule.t_max):
        limit = f"1 to {schedule.t_max:.0f}" if schedule.discrete else "at least 1"
        raise ValueError(f"number of sampling steps is {steps}, expected {limit}")
    grid = _SPACING[spacing](schedule, steps)
    if schedule.discrete:
        grid = _distinct(grid.round(), schedule.t_max)
    return torch.cat([grid, torch.zeros(1, dtype=torch.float64)])


def _distinct(grid: Tensor, last: float) -> Tensor:
    """Hold neighbours that rounding joined at least one step of the chain apart, within 1..T."""
    steps = torch.arange(len(grid), dtype=torch.float64)
    spread = torch.cummin(grid + steps, dim=0).values - steps
    return torch.maximum(spread, len(grid) - steps).clamp(max=last)


def _first_time(schedule: NoiseSchedule) -> float:
    return float(schedule.quantile(torch.zeros((), dtype=torch.float64)))


def _trailing(schedule: NoiseSchedule, steps: int) -> Tensor:
    if not schedule.discrete:
        return torch.linspace(schedule.t_max, 0, steps + 1, dtype=torch.float64)[:-1]
    return schedule.t_max * torch.arange(steps, 0, -1, dtype=torch.float64) / steps


def _leading(schedule: NoiseSchedule, steps: int) -> Tensor:
    # A stride cut to whole numbers (as published code does) would never reach the noise end where
    # steps do not divide T.
    stride = (schedule.t_max - (0 if schedule.discrete else _first_time(schedule))) / steps
    return _first_time(schedule) + stride * torch.arange(steps - 1, -1, -1, dtype=torch.float64)


def _linspace(schedule: NoiseSchedule, steps: int) -> Tensor:
    return torch.linspace(schedule.t_max, _first_time(schedule), steps, dtype=torch.float64)


def _quadratic(schedule: NoiseSchedule, steps: int) -> Tensor:
    first = _first_time(schedule) ** 0.5
    roots = torch.linspace(schedule.t_max**0.5, first, steps, dtype=torch.float64)
    return roots**2


def _karras(schedule: NoiseSchedule, steps: int, rho: float = 7.0) -> Tensor:
    high, low = _ratio_ends(schedule) ** (1 / rho)
    log_ratio = torch.linspace(float(high), float(low), steps, dtype=torch.float64).log() * rho
    return _at_log_ratios(schedule, log_ratio)


def _log_snr(schedule: NoiseSchedule, steps: int) -> Tensor:
    high, low = _ratio_ends(schedule).log()
    log_ratio = torch.linspace(float(high), float(low), steps, dtype=torch.float64)
    return _at_log_ratios(schedule, log_ratio)


def _ratio_ends(schedule: NoiseSchedule) -> Tensor:
    """Give the largest and the smallest sigma / alpha that a grid visits."""
    ends = torch.tensor([schedule.t_max, _first_time(schedule)], dtype=torch.float64)
    ratio = schedule.sigma(ends) / schedule.alpha(ends)
    if isinstance(schedule, VarianceExploding):
        return ratio
    # Infinite at t = 1 of the linear path: EDM's ends instead, and then the prior's time.
    return ratio.clamp(min=0.002, max=80.0)


def _at_log_ratios(schedule: NoiseSchedule, log_ratio: Tensor) -> Tensor:
    times = schedule.time_of(log_ratio)
    times[0] = schedule.t_max
    return times


_SPACING = {
    "trailing": _trailing,
    "leading": _leading,
    "linspace": _linspace,
    "quadratic": _quadratic,
    "karras": _karras,
    "log_snr": _log_snr,
}
