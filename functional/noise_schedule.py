"""How much signal and how much noise x_t holds: x_t = alpha(t) x_0 + sigma(t) eps.

Three families share one interface. ``t = 0`` is the clean image in each of them.

================== ===================== ======================= ==========================
class              t                     alpha, sigma            used by
================== ===================== ======================= ==========================
VariancePreserving integers 1..T         sqrt(a_bar), sqrt(1-..) Ho 2020, Nichol 2021
LinearPath         (0, 1]                1 - t, t                flow matching, Lipman 2023
VarianceExploding  [sigma_min,sigma_max] 1, t                    EDM, Karras 2022
================== ===================== ======================= ==========================

All of it is computed in float64.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def linear_betas(
    steps: int, beta_start: float = 1e-4, beta_end: float = 0.02, rescale: bool = False
) -> Tensor:
    """Give betas growing linearly, ``(steps,)`` float64 (Ho et al. 2020, section 4).

    The end points are those of T = 1000. At another T they are as given, or with ``rescale``
    multiplied by 1000 / T, which leaves about as little of the image at the end (Nichol & Dhariwal
    2021 at T = 4000).
    """
    _check_steps(steps)
    if rescale:
        beta_start, beta_end = beta_start * 1000 / steps, beta_end * 1000 / steps
    if not 0.0 < beta_start <= beta_end < 1.0:
        raise ValueError(f"betas need 0 < start <= end < 1, got {beta_start} and {beta_end}")
    return torch.linspace(beta_start, beta_end, steps, dtype=torch.float64)


def cosine_betas(steps: int, offset: float = 0.008, beta_max: float = 0.999) -> Tensor:
    """Give the cosine schedule's betas, ``(steps,)`` float64 (Nichol & Dhariwal 2021, eq. 17)."""
    _check_steps(steps)
    grid = torch.arange(steps + 1, dtype=torch.float64) / steps
    alpha_bar = torch.cos((grid + offset) / (1 + offset) * math.pi / 2) ** 2
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=beta_max)


def sigmoid_betas(
    steps: int, start: float = -3.0, end: float = 3.0, tau: float = 1.0, beta_max: float = 0.999
) -> Tensor:
    """Give the sigmoid schedule's betas, ``(steps,)`` float64 (Jabri et al. 2022; Chen 2023)."""
    _check_steps(steps)
    grid = torch.arange(steps + 1, dtype=torch.float64) / steps
    curve = torch.sigmoid((grid * (end - start) + start) / tau)
    alpha_bar = (curve[-1] - curve) / (curve[-1] - curve[0])
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=beta_max)


def _zero_terminal_snr(alpha_bar: Tensor) -> Tensor:
    """Give ``alpha_bar`` of steps 1..T with nothing of the image left at T (Lin et al. 2023).

    Their algorithm 1: sqrt(alpha_bar) is shifted to end at 0 and scaled to begin as before.

    Raises:
        ValueError: for a chain of one step, which has no room for both.
    """
    if len(alpha_bar) < 2:
        raise ValueError("zero_terminal_snr needs 2 steps or more, got 1")
    root = alpha_bar.sqrt()
    return ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise ValueError(f"a noise schedule needs at least 1 step, got {steps}")


CHAINS = ("linear", "cosine", "sigmoid")


class NoiseSchedule:
    """What every family gives: alpha and sigma of t, their rates, and what the network is told.

    Attributes:
        t_max: the last time, where sampling starts from noise of standard deviation ``prior_std``.
        discrete: whether t counts the steps of a Markov chain.
    """

    t_max: float
    discrete: bool = False
    prior_std: float = 1.0

    def alpha(self, t: Tensor) -> Tensor:
        """Signal level at ``t``, float64, same shape."""
        raise NotImplementedError

    def sigma(self, t: Tensor) -> Tensor:
        """Noise level at ``t``, float64, same shape."""
        raise NotImplementedError

    def clock(self, t: Tensor) -> Tensor:
        """The variable in which the probability-flow ODE is integrated, float64."""
        return t.double()

    def drift(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """dx/dclock of the probability-flow ODE for the pair (x0, eps) at scalar ``t``."""
        raise NotImplementedError

    def conditioning(self, t: Tensor) -> Tensor:
        """What the network is told about ``t``: float32, about 0 to 1000 as in Ho et al."""
        raise NotImplementedError

    def quantile(self, u: Tensor) -> Tensor:
        """Map uniform ``u`` in (0, 1) onto the times of the family."""
        raise NotImplementedError

    def time_of(self, log_ratio: Tensor) -> Tensor:
        """Give the time at which ln(sigma / alpha) is ``log_ratio``, held inside the family."""
        raise NotImplementedError


class VariancePreserving(NoiseSchedule):
    """The Markov chain of Sohl-Dickstein 2015 and Ho 2020 with T steps; t = 1..T, 0 is clean.

    Args:
        steps: T.
        schedule: "linear", "cosine" or "sigmoid".
        beta_start, beta_end, rescale: of the linear schedule, see :func:`linear_betas`.
        zero_terminal_snr: leave nothing of the image at T (Lin et al. 2023).
    """

    discrete = True

    def __init__(
        self,
        steps: int = 1000,
        schedule: str = "linear",
        beta_start: float = 1e-4,
        beta_end: float = 0.02,
        rescale: bool = False,
        zero_terminal_snr: bool = False,
    ) -> None:
        if schedule not in CHAINS:
            raise ValueError(f"unknown schedule {schedule!r}; known: {', '.join(CHAINS)}")
        if rescale and schedule != "linear":
            raise ValueError(f"rescale=True is of the linear schedule, not of {schedule!r}")
        if schedule == "linear":
            betas = linear_betas(steps, beta_start, beta_end, rescale)
        else:
            betas = cosine_betas(steps) if schedule == "cosine" else sigmoid_betas(steps)
        bar = torch.cumprod(1 - betas, dim=0)
        if zero_terminal_snr:
            bar = _zero_terminal_snr(bar)
        self.alpha_bar = torch.cat([torch.ones(1, dtype=torch.float64), bar])
        self.betas = 1 - bar / self.alpha_bar[:-1] if zero_terminal_snr else betas
        self.steps = steps
        self.t_max = float(steps)

    def alpha(self, t: Tensor) -> Tensor:
        return self.alpha_bar.to(t.device)[t.long()].sqrt()

    def sigma(self, t: Tensor) -> Tensor:
        return (1 - self.alpha_bar.to(t.device)[t.long()]).sqrt()

    def clock(self, t: Tensor) -> Tensor:
        return torch.atan2(self.sigma(t), self.alpha(t))

    def drift(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        return self.alpha(t).to(eps.dtype) * eps - self.sigma(t).to(x0.dtype) * x0

    def conditioning(self, t: Tensor) -> Tensor:
        # The published networks count t from 0.
        return (t.float() - 1).clamp(min=0)

    def quantile(self, u: Tensor) -> Tensor:
        return (u.double() * self.steps).ceil().clamp(1, self.steps)

    def time_of(self, log_ratio: Tensor) -> Tensor:
        chain = torch.log((1 - self.alpha_bar[1:]) / self.alpha_bar[1:]) / 2
        nearest = torch.searchsorted(chain.to(log_ratio.device), log_ratio.double().contiguous())
        return (nearest + 1).clamp(max=self.steps).double()


class LinearPath(NoiseSchedule):
    """The straight line from image to noise (flow matching, rectified flow); t in (0, 1]."""

    t_max = 1.0
    t_min = 1e-4

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t.double()

    def sigma(self, t: Tensor) -> Tensor:
        return t.double()

    def drift(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        return eps - x0

    def conditioning(self, t: Tensor) -> Tensor:
        return t.float() * 1000

    def quantile(self, u: Tensor) -> Tensor:
        return u.double().clamp(self.t_min, 1.0)

    def time_of(self, log_ratio: Tensor) -> Tensor:
        return torch.sigmoid(log_ratio.double()).clamp(self.t_min, 1.0)


class VarianceExploding(NoiseSchedule):
    """Noise added to an unscaled image, t = sigma (Karras et al. 2022, table 1)."""

    def __init__(self, sigma_min: float = 0.002, sigma_max: float = 80.0) -> None:
        if not 0 < sigma_min < sigma_max:
            raise ValueError(f"need 0 < sigma_min < sigma_max, got {sigma_min} and {sigma_max}")
        self.sigma_min = sigma_min
        self.t_max = self.prior_std = sigma_max

    def alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t, dtype=torch.float64)

    def sigma(self, t: Tensor) -> Tensor:
        return t.double()

    def drift(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        return eps

    def conditioning(self, t: Tensor) -> Tensor:
        # ln(sigma) / 4 as in EDM, times 1000: the sinusoidal embedding expects that scale.
        return t.float().clamp(min=self.sigma_min).log() * 250

    def quantile(self, u: Tensor) -> Tensor:
        low, high = math.log(self.sigma_min), math.log(self.t_max)
        return (low + u.double() * (high - low)).exp()

    def time_of(self, log_ratio: Tensor) -> Tensor:
        return log_ratio.double().exp().clamp(self.sigma_min, self.t_max)
