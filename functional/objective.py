"""What a diffusion model is trained to minimise, per image."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from functional.diffusion import (
    levels,
    q_sample,
    shaped,
    simple_loss,
    target,
    to_x0,
    without_overshoot,
    x0_gain,
)
from functional.noise_schedule import NoiseSchedule, VariancePreserving
from functional.reverse_variance import (
    LogVariances,
    check_variance,
    log_variance,
    step_log_variances,
)
from functional.variational_bound import step_terms

LOSSES = ("simple", "bound", "hybrid")
WEIGHTINGS = ("uniform", "min_snr", "p2")


class Noisy(NamedTuple):
    """Images ``x0`` ``(N, ...)`` with noise ``eps`` at times ``t`` ``(N,)``: ``x_t``."""

    x0: Tensor
    eps: Tensor
    t: Tensor
    x_t: Tensor


def add_noise(x0: Tensor, eps: Tensor, t: Tensor, schedule: NoiseSchedule) -> Noisy:
    """Give images with the noise ``eps`` at times ``t``."""
    return Noisy(x0, eps, t, q_sample(x0, eps, t, schedule))


class Objective:
    """A loss on what the network outputs for noisy images.

    * simple: the mean squared error of the output (Ho et al. 2020, eq. 14), weighted over t.
    * bound: the variational bound, T times the term of the drawn step (bits/dim; without L_T, which
      has no parameters), with fixed or learnt variances.
    * hybrid: simple plus ``bound_weight`` times the bound, which trains the learnt variance alone
      (Nichol & Dhariwal 2021, eq. 16).

    Weightings of the simple loss, as the weight that the squared error of x_0 gets at SNR =
    (alpha / sigma)^2: uniform leaves the output's own error as it is; min_snr is min(SNR, gamma)
    (Hang et al. 2023); p2 is SNR / (k + SNR)^gamma (Choi et al. 2022).

    Args:
        loss: "simple", "bound" or "hybrid".
        weighting: "uniform", "min_snr" or "p2".
        gamma: of min_snr (5 in the paper) or p2 (0.5 or 1); unused for uniform.
        k: of p2 (1 in the paper).
        variance: of p(x_s | x_t) in the bound: "fixed_small", "fixed_large" or "learnt".
        bound_weight: of hybrid.

    Raises:
        ValueError: for an unknown name, or settings that contradict each other.
    """

    def __init__(
        self,
        loss: str = "simple",
        weighting: str = "uniform",
        gamma: float = 5.0,
        k: float = 1.0,
        variance: str = "fixed_large",
        bound_weight: float = 1e-3,
    ) -> None:
        for name, value, known in (("loss", loss, LOSSES), ("weighting", weighting, WEIGHTINGS)):
            if value not in known:
                raise ValueError(f"unknown {name} {value!r}; known: {', '.join(known)}")
        check_variance(variance)
        if (variance == "learnt") != (loss == "hybrid") and loss != "bound":
            raise ValueError(
                f"loss {loss!r} with variance {variance!r}: hybrid trains a learnt variance, "
                "simple none; set loss=hybrid and variance=learnt, or loss=simple and a fixed one"
            )
        if loss == "bound" and weighting != "uniform":
            raise ValueError(f"the bound has weights of its own; weighting is {weighting!r}")
        if gamma <= 0 or k < 0 or bound_weight <= 0:
            raise ValueError(
                f"gamma={gamma}, k={k}, bound_weight={bound_weight}: expected positive numbers"
            )
        self.loss, self.weighting, self.gamma, self.k = loss, weighting, gamma, k
        self.variance, self.bound_weight = variance, bound_weight

    @property
    def learns_variance(self) -> bool:
        """Whether the network has twice the channels of the image, the second half for it."""
        return self.variance == "learnt"

    def check(self, schedule: NoiseSchedule) -> None:
        """Refuse a schedule on which this objective is not defined (ValueError)."""
        if self.loss != "simple" and not isinstance(schedule, VariancePreserving):
            raise ValueError(
                f"the bound is a sum over the steps of a Markov chain, which "
                f"{type(schedule).__name__} has not; use VariancePreserving, or loss=simple"
            )
        end = torch.tensor(schedule.t_max, dtype=torch.float64)
        if self.weighting != "uniform" and schedule.discrete and schedule.alpha(end) == 0:
            raise ValueError(
                f"{self.weighting} gives no weight to the step with SNR 0, which would never be "
                "trained; use weighting=uniform, or zero_terminal_snr=False"
            )

    def __call__(
        self,
        output: Tensor,
        at: Noisy,
        prediction: str,
        schedule: NoiseSchedule,
        clipped: bool = False,
    ) -> Tensor:
        """Give the loss per image, ``(N,)`` float32.

        Args:
            output: of the network for ``at.x_t``; with a learnt variance ``(N, 2 C, ...)``.
            at: the noisy images.
            prediction: what the output is, of ``functional.diffusion.PREDICTIONS``.
            schedule: of the noise.
            clipped: count the error of the clipped estimate in the simple loss, see
                ``functional.diffusion.without_overshoot``.
        """
        output, fraction = split_output(output.float(), self.learns_variance)
        if self.loss == "bound":
            return self._bound(output, fraction, at, prediction, schedule)
        loss = self._simple(output, at, prediction, schedule, clipped)
        if self.loss == "hybrid":
            # The mean is trained by the simple loss alone.
            bound = self._bound(output.detach(), fraction, at, prediction, schedule)
            loss = loss + self.bound_weight * bound
        return loss

    def _simple(
        self, output: Tensor, at: Noisy, prediction: str, schedule: NoiseSchedule, clipped: bool
    ) -> Tensor:
        alpha, sigma = levels(schedule, at.t, at.x0)
        wanted = target(prediction, at.x0, at.eps, alpha, sigma)
        if clipped:
            estimate = to_x0(prediction, output.detach(), at.x_t, alpha, sigma)
            wanted = without_overshoot(output, wanted, at.x0, estimate)
        loss = simple_loss(output, wanted)
        if self.weighting == "uniform":
            return loss
        return self.weight(prediction, alpha, sigma).flatten() * loss

    def weight(self, prediction: str, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Give the factor on the squared error of the output at ``alpha``, ``sigma``."""
        if self.weighting == "uniform":
            return torch.ones_like(alpha)
        snr = (alpha / sigma) ** 2
        if self.weighting == "min_snr":
            on_x0 = snr.clamp(max=self.gamma)
        else:
            on_x0 = snr / (self.k + snr) ** self.gamma
        return on_x0 * x0_gain(prediction, alpha, sigma) ** 2

    def _bound(
        self,
        output: Tensor,
        fraction: Tensor | None,
        at: Noisy,
        prediction: str,
        schedule: NoiseSchedule,
    ) -> Tensor:
        assert isinstance(schedule, VariancePreserving)
        estimate = to_x0(prediction, output, at.x_t, *levels(schedule, at.t, at.x0))
        ends = _of_chain(schedule, at.t.device)
        step = at.t.long() - 1
        picked = LogVariances(*(shaped(end[step], at.x0) for end in ends))
        log_var = log_variance(self.variance, picked, fraction)
        return schedule.steps * step_terms(at.x0, estimate, at.t, at.t - 1, schedule, log_var)


def split_output(output: Tensor, learnt_variance: bool) -> tuple[Tensor, Tensor | None]:
    """Give the prediction and what the network says of the variance, None where it says nothing."""
    if not learnt_variance:
        return output, None
    prediction, fraction = output.chunk(2, dim=1)
    return prediction, fraction


@lru_cache(maxsize=8)
def _of_chain(schedule: VariancePreserving, device: torch.device) -> LogVariances:
    """Give log variances ``(T,)`` of the steps t = 1..T in this order."""
    times = torch.arange(schedule.steps, -1, -1, dtype=torch.float64)
    return LogVariances(*(end.flip(0).to(device) for end in step_log_variances(schedule, times)))
