"""The variational bound on -log p(x_0), term by term, in bits per dimension.

-log p(x_0) <= L_T + sum of L_(t-1) over t > 1 + L_0 (Sohl-Dickstein et al. 2015; Ho et al. 2020,
eq. 5), for the chain on any grid of times: L_T compares q(x_T | x_0) with the prior, L_(t-1) the
step q(x_s | x_t, x_0) with p(x_s | x_t), and L_0 is the decoder's -log p(x_0 | x_1), in which an
image is 8-bit: a level is an interval of width 2 / 255 in [-1, 1].
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor

from functional.diffusion import shaped
from functional.noise_schedule import NoiseSchedule

HALF_LEVEL = 1 / 255


def bits_per_dim(nats: Tensor) -> Tensor:
    """Give the mean of ``nats`` ``(N, ...)`` over each image's dimensions, in bits: ``(N,)``."""
    return nats.flatten(1).mean(dim=1) / math.log(2)


def prior_term(x0: Tensor, schedule: NoiseSchedule) -> Tensor:
    """Give L_T ``(N,)`` in bits/dim: KL of q(x_T | x_0) from N(0, prior_std^2)."""
    end = torch.tensor(schedule.t_max, dtype=torch.float64)
    alpha, sigma = float(schedule.alpha(end)), float(schedule.sigma(end))
    variance = (sigma / schedule.prior_std) ** 2
    squared = (alpha / schedule.prior_std * x0) ** 2
    return bits_per_dim((squared + variance - 1 - math.log(variance)) / 2)


def step_terms(
    x0: Tensor,
    estimate: Tensor,
    t: Tensor,
    s: Tensor,
    schedule: NoiseSchedule,
    log_variance: Tensor,
) -> Tensor:
    """Give L_(t-1), or L_0 where s is 0, ``(N,)`` in bits/dim.

    Both means are q's own function of x_t and an image, so that x_t itself cancels.

    Args:
        x0, estimate: the images and what the model takes them for at ``t``, ``(N, ...)``.
        t, s: ``(N,)`` times, s < t.
        log_variance: of p(x_s | x_t), to broadcast with ``x0``.
    """
    last = s == 0
    ratio = schedule.alpha(t) / schedule.alpha(s)
    beta = schedule.sigma(t) ** 2 - (ratio * schedule.sigma(s)) ** 2
    # Where s is 0 this is never used; any positive number keeps the gradient finite.
    true = torch.where(last, beta, beta * schedule.sigma(s) ** 2 / schedule.sigma(t) ** 2)
    weight = shaped(schedule.alpha(s) * beta / schedule.sigma(t) ** 2, x0)
    squared = (weight * (x0 - estimate)) ** 2
    difference = log_variance - shaped(true.log(), x0)
    divergence = difference + torch.expm1(-difference) + squared * torch.exp(-log_variance)
    kl = bits_per_dim(divergence / 2)
    return torch.where(last, bits_per_dim(decoder_nats(x0, estimate, log_variance)), kl)


def decoder_nats(x0: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Give -log p(x_0 | x_1) in nats per dimension, as ``x0`` (Ho et al. 2020, eq. 13).

    The mass of N(mean, variance) on the interval of the level; those of the levels 0 and 255 reach
    to infinity. Exact in the tails, and so is its gradient.
    """
    scale = torch.exp(-log_variance / 2)
    lower, upper = (x0 - HALF_LEVEL - mean) * scale, (x0 + HALF_LEVEL - mean) * scale
    mass = torch.where(x0 > 1 - HALF_LEVEL, _log_cdf(-lower), _log_cdf_difference(lower, upper))
    return -torch.where(x0 < HALF_LEVEL - 1, _log_cdf(upper), mass)


def _log_cdf(x: Tensor) -> Tensor:
    return cast(Tensor, torch.special.log_ndtr(x))


def _log_cdf_difference(lower: Tensor, upper: Tensor) -> Tensor:
    """Give log(Phi(upper) - Phi(lower)), from the tail in which both are small."""
    right = lower > 0
    low, high = torch.where(right, -upper, lower), torch.where(right, -lower, upper)
    high_log = _log_cdf(high)
    return high_log + torch.log(-torch.expm1(_log_cdf(low) - high_log))
