"""One step of a reverse process that also knows a measurement y = A x + std n of the image.

A state x_t = alpha x + sigma n is a view of the image with noise of standard deviation
sigma / alpha; in the direction of a singular value s of A, A+ y is one with std / s. The less noisy
of the two decides, direction by direction. While y does, the state is y's part of the image plus
noise of variance v = sigma^2 - (alpha std / s)^2, and steps are those of a reverse process from
there to y. Once the state is no noisier than y, it holds all that y said, and the model goes on
from it. The noise of y, the same at every step, so counts once; without any this is DDNM.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from functional.linear_operators import Function, LinearOperator, spectral
from functional.noise_schedule import NoiseSchedule

ROUNDING = 1e-9
"""A share of sigma^2 that is taken for 0: a chain begins where y is as noisy as its state."""


class Weights(NamedTuple):
    """Of x_t, x_0, A+ y and noise in x_s, along one singular value; float64, to broadcast."""

    state: Tensor
    estimate: Tensor
    known: Tensor
    noise: Tensor


def between(
    operator: LinearOperator,
    x: Tensor,
    x0: Tensor,
    known: Tensor,
    t: Tensor,
    s: Tensor,
    schedule: NoiseSchedule,
    noise: Tensor,
    std: Tensor,
) -> Tensor:
    """Draw x_s of the state ``x`` at t, the estimate ``x0`` and ``known`` = A+ y."""

    def weight(field: int) -> Function:
        return lambda values: step_weights(values, t, s, schedule, std)[field]

    parts = [spectral(operator, part, weight(k)) for k, part in enumerate((x, x0, known, noise))]
    return torch.stack(parts).sum(dim=0)


def step_weights(
    values: Tensor, t: Tensor, s: Tensor, schedule: NoiseSchedule, std: Tensor
) -> Weights:
    """Give the weights of a step from t to s along the singular ``values``."""
    alpha_t, sigma_t = schedule.alpha(t), schedule.sigma(t)
    alpha_s, sigma_s = schedule.alpha(s), schedule.sigma(s)
    seen, level = _level(values, std)
    v_t, v_s = sigma_t**2 - (alpha_t * level) ** 2, sigma_s**2 - (alpha_s * level) ** 2
    ratio = alpha_t / alpha_s
    beta = sigma_t**2 - ratio**2 * sigma_s**2
    nothing = torch.zeros_like(level)

    def towards(share: Tensor, step: Tensor, variance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Weights of where it comes from, of where it goes, of noise."""
        return share, alpha_s * step, variance.clamp(min=0).sqrt()

    model = towards(
        nothing + ratio * sigma_s**2 / sigma_t**2,
        nothing + beta / sigma_t**2,
        nothing + beta * sigma_s**2 / sigma_t**2,
    )
    to_y = towards(ratio * v_s / v_t, beta / v_t, beta * v_s / v_t)
    left = (sigma_s / (alpha_s * level)) ** 2
    from_y = towards(alpha_s * left, 1 - left, sigma_s**2 * (1 - left))
    before, after = seen & (v_s >= 0), seen & (v_t >= 0) & (v_s < 0)

    def choose(y_decides: Tensor, crossing: Tensor, state_decides: Tensor) -> Tensor:
        return torch.where(before, y_decides, torch.where(after, crossing, state_decides))

    return Weights(
        choose(to_y[0], nothing, model[0]),
        choose(nothing, from_y[1], model[1]),
        choose(to_y[1], from_y[0], nothing),
        choose(to_y[2], from_y[2], model[2]),
    )


def known_part(
    operator: LinearOperator,
    x: Tensor,
    known: Tensor,
    s: Tensor,
    schedule: NoiseSchedule,
    noise: Tensor,
    std: Tensor,
) -> Tensor:
    """Give the state ``x`` at s with what y says of it in its place, under noise of its own."""
    alpha, sigma = schedule.alpha(s), schedule.sigma(s)

    def spread(values: Tensor) -> tuple[Tensor, Tensor]:
        seen, level = _level(values, std)
        v = sigma**2 - (alpha * level) ** 2
        return seen & (v >= -ROUNDING * sigma**2), v.clamp(min=0).sqrt()

    kept = spectral(operator, x, lambda values: (~spread(values)[0]).to(x.dtype))
    put = spectral(operator, known, lambda values: alpha * spread(values)[0])
    drawn = spectral(operator, noise, lambda values: spread(values)[0] * spread(values)[1])
    return kept + put + drawn


def start(
    operator: LinearOperator,
    known: Tensor,
    t: Tensor,
    schedule: NoiseSchedule,
    noise: Tensor,
    std: Tensor,
) -> Tensor:
    """Give the state at the first time: noise, and in it what y says."""
    x = schedule.prior_std * noise
    return known_part(operator, x, known, t, schedule, noise, std)


def _level(values: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """Give whether A sees a direction, and the standard deviation of A+ y in it, float64."""
    values, seen = values.double(), values > 0
    level = std.double() / torch.where(seen, values, 1)
    return seen.expand_as(level), level
