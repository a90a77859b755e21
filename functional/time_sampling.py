"""At which times a diffusion model is trained."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from functional.noise_schedule import NoiseSchedule


class Drawn(NamedTuple):
    """Times ``t`` ``(N,)``, float64, and for the loss at each its weight, None for 1.

    ``bins``: where a sampler that learns from the losses wants to enter them, None elsewhere.
    """

    t: Tensor
    weight: Tensor | None = None
    bins: Tensor | None = None


class TimeSampler:
    """Draws the ``(N,)`` training times of a batch.

    Args:
        distribution: "uniform" over the times of the schedule (Ho 2020; log-uniform in sigma for
            EDM's family), or "logit_normal": ln(sigma / alpha) ~ N(mean, std^2). On the linear
            path that is Esser et al. 2024, on EDM's family P_mean and P_std of Karras et al. 2022.
        mean, std: of the normal; unused for "uniform".
        stratified: one draw from each of N equal shares of the distribution, which lowers the
            variance of the loss and leaves its mean as it is.
    """

    def __init__(
        self,
        distribution: str = "uniform",
        mean: float = 0.0,
        std: float = 1.0,
        stratified: bool = False,
    ) -> None:
        if distribution not in ("uniform", "logit_normal"):
            raise ValueError(
                f"unknown distribution of times {distribution!r}; known: uniform, logit_normal"
            )
        if std <= 0:
            raise ValueError(f"std of the times must be positive, got {std}")
        self.distribution, self.mean, self.std = distribution, mean, std
        self.stratified = stratified

    def __call__(self, count: int, schedule: NoiseSchedule, device: torch.device) -> Tensor:
        """Draw ``(count,)`` times, float64, from torch's global generator."""
        u = self.uniform_numbers(count, device)
        if self.distribution == "uniform":
            return schedule.quantile(u)
        normal = torch.special.ndtri(u.clamp(1e-7, 1 - 1e-7))
        return schedule.time_of(self.mean + self.std * normal)

    def uniform_numbers(self, count: int, device: torch.device) -> Tensor:
        """Draw ``(count,)`` numbers in [0, 1), float64, stratified as configured."""
        u = torch.rand(count, device=device, dtype=torch.float64)
        if self.stratified:
            u = (torch.arange(count, device=device, dtype=torch.float64) + u) / count
        return u

    def draw(self, count: int, schedule: NoiseSchedule, device: torch.device) -> Drawn:
        """Draw the times of a batch, and how the losses at them are to be weighed."""
        return Drawn(self(count, schedule, device))

    def observe(self, drawn: Drawn, losses: Tensor) -> None:
        """Learn from the ``losses`` ``(N,)``, not weighed, at times drawn before."""

    def check(self, schedule: NoiseSchedule) -> None:
        """Refuse a schedule whose times cannot be drawn (ValueError)."""
