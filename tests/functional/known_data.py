"""Mixtures of which everything is known, and networks that know it."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from functional.diffusion import input_scale, levels, target, to_eps
from functional.noise_schedule import LinearPath, NoiseSchedule
from functional.oracle import BestDenoiser, Mixture
from functional.samplers import SAMPLERS
from functional.time_grid import time_grid

# One number an image: two modes of different weight and width.
TWO_MODES = Mixture(
    torch.tensor([0.3, 0.7]),
    torch.tensor([-0.6, 0.5]).view(2, 1, 1, 1),
    torch.tensor([0.1, 0.2]),
)


class KnowingNetwork:
    """What a trained network would output at best, given what networks are given."""

    def __init__(self, data: Mixture, schedule: NoiseSchedule, prediction: str) -> None:
        self.data, self.schedule, self.prediction = data, schedule, prediction

    def __call__(self, given: Tensor, told: Tensor) -> Tensor:
        t = self.time(told.double())
        alpha, sigma = levels(self.schedule, t, given.double())
        x_t = given.double() / input_scale(self.prediction, alpha, sigma)
        x0 = self.data.denoise(x_t, alpha, sigma)
        return target(self.prediction, x0, to_eps(x_t, x0, alpha, sigma), alpha, sigma)

    def time(self, told: Tensor) -> Tensor:
        """The time of which the network was told ``told``."""
        if self.schedule.discrete:
            return told + 1
        return told / 1000 if isinstance(self.schedule, LinearPath) else torch.exp(told / 250)


@cache
def shares(n: int) -> tuple[Tensor, Tensor]:
    """The middles of n equal shares of probability, and a fixed shuffle of n numbers."""
    p = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    return p, torch.randperm(n, generator=torch.Generator().manual_seed(0))


def start_of(schedule: NoiseSchedule, n: int) -> Tensor:
    """Prior noise at n equal shares of probability, in mixed order."""
    p, order = shares(n)
    return schedule.prior_std * torch.special.ndtri(p)[order].view(n, 1, 1, 1)


def draw(
    schedule: NoiseSchedule, sampler: str, steps: int, spacing: str, n: int = 512, **options: object
) -> Tensor:
    """Images ``(n, 1, 1, 1)`` of two modes by the sampler under the best denoiser."""
    generator = torch.Generator().manual_seed(1)
    times = time_grid(schedule, steps, spacing)
    return SAMPLERS[sampler](
        BestDenoiser(TWO_MODES, schedule, times), start_of(schedule, n), times, schedule,
        lambda *shape: torch.randn(n, *shape, generator=generator, dtype=torch.float64),
        **options,
    )  # fmt: skip


def distance(images: Tensor) -> float:
    """Wasserstein-1 distance of images of one number each from two modes."""
    p, _ = shares(len(images))
    return float((images.flatten().sort().values - TWO_MODES.quantile(p)).abs().mean())


def off_the_flow(schedule: NoiseSchedule, sampler: str, steps: int, spacing: str) -> float:
    """Mean distance of a deterministic sampler's ends from those of the exact ODE."""
    start, first = start_of(schedule, 128), time_grid(schedule, steps, spacing)[0]
    got = draw(schedule, sampler, steps, spacing, 128)
    exact = TWO_MODES.flow(start, float(schedule.alpha(first)), float(schedule.sigma(first)))
    return float((got - exact).abs().mean())
