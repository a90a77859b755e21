"""Samplers that integrate the probability-flow ODE; signature and words as in ``samplers``."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from functional.noise_schedule import NoiseSchedule
from functional.sampler_steps import Denoiser, Noise, Trace, ode_step, renoise, slope


def euler(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    schedule: NoiseSchedule,
    noise: Noise,
    trace: Trace | None = None,
) -> Tensor:
    """Integrate by Euler's method in the clock of the schedule."""
    for k, (t, s) in enumerate(pairwise(times)):
        x0 = denoiser(x, t)
        if trace:
            trace(k, x, x0)
        x = ode_step(x, [slope(x, x0, t, schedule)], t, s, schedule) if s > 0 else x0
    return x


def heun(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    schedule: NoiseSchedule,
    noise: Noise,
    trace: Trace | None = None,
    churn: float = 0.0,
    churn_min: float = 0.0,
    churn_max: float = math.inf,
    churn_noise: float = 1.0,
) -> Tensor:
    """Integrate by Heun's method, with noise put back on the way where asked for.

    Karras et al. 2022, algorithm 2; without churn it is their algorithm 1. Two evaluations a step
    and one at the last: 2 K - 1 in all.

    Args:
        churn: S_churn; before a step sigma / alpha is raised by min(churn / K, sqrt(2) - 1) of
            itself, as far as the schedule has such a time: never above its last one, and on a
            Markov chain to the next whole step.
        churn_min, churn_max: S_min and S_max, between which sigma / alpha must lie for that.
        churn_noise: S_noise, the standard deviation of what is put back.
    """
    gamma = min(churn / (len(times) - 1), math.sqrt(2) - 1)
    for k, (t, s) in enumerate(pairwise(times)):
        before, start = x, t
        if gamma > 0 and churn_min <= schedule.sigma(t) / schedule.alpha(t) <= churn_max:
            start = _raised(t, gamma, schedule)
            if start > t:
                x = renoise(x, t, start, schedule, churn_noise * noise(*x.shape[1:]))
        x0 = denoiser(x, start)
        if trace:
            trace(k, before, x0)
        if s == 0:
            return x0
        first = slope(x, x0, start, schedule)
        ahead = ode_step(x, [first], start, s, schedule)
        second = slope(ahead, denoiser(ahead, s), s, schedule)
        x = ode_step(x, [first, second], start, s, schedule)
    return x


def _raised(t: Tensor, gamma: float, schedule: NoiseSchedule) -> Tensor:
    """Give the time at which sigma / alpha is 1 + gamma times that of ``t``, or the nearest."""
    ratio = schedule.sigma(t) / schedule.alpha(t) * (1 + gamma)
    return torch.maximum(schedule.time_of(ratio.log()), t)


def adams_bashforth(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    schedule: NoiseSchedule,
    noise: Noise,
    trace: Trace | None = None,
) -> Tensor:
    """Integrate by the two-step Adams-Bashforth method.

    Second order at one evaluation a step; Euler in the first step.
    """
    clock = schedule.clock(times)
    earlier: Tensor | None = None
    for k, (t, s) in enumerate(pairwise(times)):
        x0 = denoiser(x, t)
        if trace:
            trace(k, x, x0)
        here = slope(x, x0, t, schedule)
        ahead = here
        if earlier is not None:
            ratio = (clock[k + 1] - clock[k]) / (clock[k] - clock[k - 1])
            ahead = here + (ratio / 2).to(x.dtype) * (here - earlier)
        x = ode_step(x, [ahead], t, s, schedule)
        earlier = here
    return x
