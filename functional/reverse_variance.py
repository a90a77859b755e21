"""The variance of a reverse step p(x_s | x_t): fixed at either end, or learnt between them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from functional.noise_schedule import NoiseSchedule

VARIANCES = ("fixed_small", "fixed_large", "learnt")


class LogVariances(NamedTuple):
    """Logarithms of the two ends, float64, shaped alike.

    ``small``: of beta_tilde, the variance of q(x_s | x_t, x_0); ``large``: of beta of the step.
    """

    small: Tensor
    large: Tensor


def check_variance(variance: str) -> None:
    """Refuse a variance that is not one of ``VARIANCES`` (ValueError)."""
    if variance not in VARIANCES:
        raise ValueError(f"unknown variance {variance!r}; known: {', '.join(VARIANCES)}")


def step_log_variances(schedule: NoiseSchedule, times: Tensor) -> LogVariances:
    """Give log variances ``(K,)`` of the steps of a grid of ``(K + 1,)`` falling times.

    At the step to the clean image beta_tilde is 0; there it is that of the step before (Nichol &
    Dhariwal 2021, section 3.1), or beta where no step is before.
    """
    t, s = times[:-1], times[1:]
    ratio = schedule.alpha(t) / schedule.alpha(s)
    large = schedule.sigma(t) ** 2 - (ratio * schedule.sigma(s)) ** 2
    small = large * schedule.sigma(s) ** 2 / schedule.sigma(t) ** 2
    before = torch.cat([large[:1], small[:-1]])
    return LogVariances(torch.where(s > 0, small, before).log(), large.log())


def log_variance(variance: str, ends: LogVariances, fraction: Tensor | None = None) -> Tensor:
    """Give the logarithm of the variance of a step.

    Args:
        variance: "fixed_small", "fixed_large" or "learnt".
        ends: of the step, to broadcast with ``fraction``.
        fraction: what the network says of "learnt", in [-1, 1] where it stays between the ends: the
            weight of ``large`` is (fraction + 1) / 2 (Nichol & Dhariwal 2021, eq. 15).
    """
    check_variance(variance)
    if variance == "fixed_small":
        return ends.small
    if variance == "fixed_large":
        return ends.large
    if fraction is None:
        raise ValueError("a learnt variance needs the network's own output for it, got none")
    weight = (fraction + 1) / 2
    return weight * ends.large + (1 - weight) * ends.small
