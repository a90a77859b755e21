"""Averages of weights whose profile is a power function, and any such profile from a few of them.

After Karras et al. 2024, "Analyzing and improving the training dynamics of diffusion models",
section 3 and appendix C. The average at step t weighs the weights of step tau by
p(tau) = (gamma + 1) / t (tau / t)^gamma, whose standard deviation is a share sigma_rel of t: the
average forgets in proportion to how long training has gone on.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

LARGEST = 12**-0.5
"""sigma_rel of gamma = 0, the plain mean of all steps."""


class Profile(NamedTuple):
    """The average of ``sigma_rel`` at step ``t``."""

    sigma_rel: float
    t: float


def gamma_of(sigma_rel: float) -> float:
    """Give the exponent of a profile of relative standard deviation ``sigma_rel``.

    Algorithm 2: the root above -1 of sigma_rel^2 (gamma + 2)^2 (gamma + 3) = gamma + 1.

    Raises:
        ValueError: outside (0, 0.2886], the range of exponents from 0 up.
    """
    if not 0 < sigma_rel <= LARGEST:
        raise ValueError(f"sigma_rel={sigma_rel} must lie in (0, {LARGEST:.4f}]")
    low, high = 0.0, 2 / sigma_rel
    for _ in range(200):
        middle = (low + high) / 2
        wider = (middle + 1) / ((middle + 2) ** 2 * (middle + 3)) > sigma_rel**2
        low, high = (middle, high) if wider else (low, middle)
    return (low + high) / 2


def decay_of(gamma: float, step: int) -> float:
    """Give what the ``step``-th update, counted from 1, keeps of the average (eq. 2)."""
    return float((1 - 1 / step) ** (gamma + 1))


def products(one: list[Profile], other: list[Profile]) -> Tensor:
    """Give the integral of p q over all steps for each pair, float64 ``(len(one), len(other))``.

    From their definition: (a + 1) (b + 1) / (a + b + 1) m^(a + b + 1) / (s^(a + 1) t^(b + 1)), with
    m the smaller of s and t.
    """
    a, s = _numbers(one)
    b, t = _numbers(other)
    a, s, b, t = a[:, None], s[:, None], b[None], t[None]
    both = a + b + 1
    scale = both * torch.minimum(s, t).log() - (a + 1) * s.log() - (b + 1) * t.log()
    return (a + 1) * (b + 1) / both * scale.exp()


def _numbers(profiles: list[Profile]) -> tuple[Tensor, Tensor]:
    gammas = [gamma_of(profile.sigma_rel) for profile in profiles]
    times = [profile.t for profile in profiles]
    return torch.tensor(gammas, dtype=torch.float64), torch.tensor(times, dtype=torch.float64)


def mixture_of(kept: list[Profile], wanted: Profile) -> Tensor:
    """Give the factors ``(len(kept),)`` whose sum over kept averages comes nearest to ``wanted``.

    Algorithm 3: least squares between profiles, as functions of the step; then scaled to add up to
    1, so that a weight that stood still stays what it is.
    """
    factors = _least_squares(kept, wanted)
    return factors / factors.sum()


def misfit(kept: list[Profile], wanted: Profile) -> float:
    """Give the distance of the nearest sum to ``wanted``, over the size of ``wanted``."""
    size = products([wanted], [wanted])[0, 0]
    explained = products([wanted], kept)[0] @ _least_squares(kept, wanted)
    return float(((size - explained).clamp(min=0) / size).sqrt())


def _least_squares(kept: list[Profile], wanted: Profile) -> Tensor:
    gram, aim = products(kept, kept), products(kept, [wanted])
    solution: Tensor = torch.linalg.lstsq(gram, aim, driver="gelsd").solution
    return solution[:, 0]
