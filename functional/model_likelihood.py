"""Likelihood of images under a trained denoising model, by its chain and by its flow."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor

from functional.denoising_model import DenoisingModel
from functional.flow_likelihood import flow_bits
from functional.likelihood import ChainLikelihood, chain_likelihood
from functional.time_grid import time_grid

CONTINUOUS_STEPS = 250
"""Steps of a chain where time is continuous and none are asked for."""


class MarkovDenoiser:
    """Estimates of x_0 that are functions of x_t and t alone, as a density needs them.

    A self-conditioned network is given no estimate.

    Args:
        model: gives the estimates.
        labels: of the images, or None.
        autocast: gives the context in which the network runs.
    """

    def __init__(
        self,
        model: DenoisingModel,
        labels: Tensor | None,
        autocast: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        self.model, self.labels, self.autocast = model, labels, autocast

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Give the estimate of x_0, as ``x_t``, at the scalar time ``t``."""
        return self.with_variance(x_t, t)[0]

    def with_variance(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor | None]:
        """Give the estimate of x_0 and what is said of the variance, None where nothing is."""
        with self.autocast():
            return self.model.estimate(x_t, t.to(x_t.device), self.labels)


class ModelLikelihood:
    """Bits per dimension of images, of their labels' class where the model has classes.

    Args:
        model: a trained one.
        variance: of its chain's steps, of ``functional.reverse_variance.VARIANCES``.
        autocast: gives the context in which the network runs.
    """

    def __init__(
        self,
        model: DenoisingModel,
        variance: str,
        autocast: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        self.model, self.variance, self.autocast = model, variance, autocast

    def check(self, variance: str | None) -> None:
        """Refuse a learnt variance of a network that learns none (ValueError)."""
        if (variance or self.variance) == "learnt" and not self.model.objective.learns_variance:
            raise ValueError(
                "variance 'learnt', but the network learns none; give fixed_small or fixed_large"
            )

    def chain_times(self, steps: int | None = None, spacing: str | None = None) -> Tensor:
        """Give the falling times of a chain: by default every step, or 250 even in log SNR."""
        schedule = self.model.schedule
        if steps is None:
            steps = int(schedule.t_max) if schedule.discrete else CONTINUOUS_STEPS
        usual = "trailing" if schedule.discrete else "log_snr"
        return time_grid(schedule, steps, spacing or usual)

    def chain(
        self,
        images: Tensor,
        times: Tensor,
        noise: Callable[..., Tensor],
        labels: Tensor | None = None,
        variance: str | None = None,
    ) -> ChainLikelihood:
        """Give the terms of the bound, with the estimates that sampling uses.

        Args:
            images: ``(N, C, H, W)``, 8-bit levels in [-1, 1].
            times: of the chain, see :meth:`chain_times`.
            noise: ``noise(*shape)`` gives standard normal noise ``(N, *shape)``.
            labels: ``(N,)``, or None.
            variance: in place of the model's own.
        """
        denoiser = MarkovDenoiser(self.model, labels, self.autocast)
        schedule, kind = self.model.schedule, variance or self.variance
        return chain_likelihood(denoiser, images, times, schedule, noise, kind)

    def flow_times(self, steps: int) -> Tensor:
        """Give the falling times of the ODE: ``steps`` intervals, even in log SNR, and 0.

        Of a chain as many as it has, at most.
        """
        schedule = self.model.schedule
        most = int(schedule.t_max) - 1 if schedule.discrete else steps
        return time_grid(schedule, min(steps, most) + 1, "log_snr")

    def flow(
        self,
        images: Tensor,
        times: Tensor,
        noise: Callable[..., Tensor],
        labels: Tensor | None = None,
        dequantisation: str = "decoder",
        probes: int | None = 1,
    ) -> Tensor:
        """Give bits/dim ``(N,)`` by the ODE of the estimates as they are, without clipping.

        See ``functional.flow_likelihood.flow_bits``.
        """
        model = copy.copy(self.model)
        model.clip = False
        denoiser = MarkovDenoiser(model, labels, self.autocast)
        return flow_bits(
            denoiser, images, times, self.model.schedule, noise, dequantisation, probes
        )
