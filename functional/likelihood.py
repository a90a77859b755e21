"""Likelihood of images under a diffusion model's Markov chain, in bits per dimension.

The loss of the chain, L = E_q[-log p(x_T) - sum over t of log p(x_s | x_t) / q(x_t | x_s)] (Ho et
al. 2020, eq. 3), bounds E[-log p(x_0)]. It is measured twice on the same paths x_0, x_1, ..., x_T:
as it stands, by the densities along the path, and as the sum of divergences L_T + ... + L_0 that
has the same mean and less variance (``functional.variational_bound``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from functional.diffusion import posterior
from functional.noise_schedule import NoiseSchedule
from functional.reverse_variance import LogVariances, log_variance, step_log_variances
from functional.variational_bound import bits_per_dim, decoder_nats, prior_term, step_terms


class VarianceDenoiser(Protocol):
    """What estimates x_0 and says something of the variance, or None."""

    def with_variance(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor | None]:
        """Give both at the scalar time ``t``."""


class ChainLikelihood(NamedTuple):
    """Terms of one path per image, bits/dim; the K steps are in the order of rising t.

    Attributes:
        prior: L_T, ``(N,)``.
        steps: L_0, L_1, ..., ``(N, K)``; entry k belongs to ``times[k]``.
        path_prior: -log p(x_T), ``(N,)``.
        path: log q(x_t | x_s) - log p(x_s | x_t), ``(N, K)``; at the first step -log p(x_0 | x_1)
            has the mass of an 8-bit level.
        times: the t of each step, ``(K,)``.
    """

    prior: Tensor
    steps: Tensor
    path_prior: Tensor
    path: Tensor
    times: Tensor

    @property
    def bound(self) -> Tensor:
        """L_T + L_(T-1) + ... + L_0, ``(N,)``."""
        return self.prior + self.steps.sum(dim=1)

    @property
    def chain(self) -> Tensor:
        """The same from densities along the path, ``(N,)``."""
        return self.path_prior + self.path.sum(dim=1)


@torch.no_grad()
def chain_likelihood(
    denoiser: VarianceDenoiser,
    x0: Tensor,
    times: Tensor,
    schedule: NoiseSchedule,
    noise: Callable[..., Tensor],
    variance: str,
) -> ChainLikelihood:
    """Give the terms of L for images ``x0``, one evaluation a step.

    Args:
        denoiser: gives the mean of p(x_s | x_t) through its estimate of x_0.
        x0: ``(N, C, H, W)``, 8-bit levels in [-1, 1].
        times: ``(K + 1,)`` falling times of the chain, the last one 0.
        schedule: of the noise.
        noise: ``noise(*shape)`` gives standard normal noise ``(N, *shape)``.
        variance: of p(x_s | x_t), of ``functional.reverse_variance.VARIANCES``.
    """
    ends = step_log_variances(schedule, times)
    rising = list(enumerate(pairwise(times)))[::-1]
    x_s = x0 = x0.double()
    steps, path = [], []
    for k, (t, s) in rising:
        z = noise(*x0.shape[1:]).double()
        x_t = _forward(x_s, z, ends.large[k], t, s, schedule)
        estimate, fraction = denoiser.with_variance(x_t.to(torch.float32), t)
        end = LogVariances(ends.small[k], ends.large[k])
        log_var = log_variance(variance, end, None if fraction is None else fraction.double())
        later, sooner = (time.double().to(x0.device).expand(len(x0)) for time in (t, s))
        term = step_terms(x0, estimate.double(), later, sooner, schedule, log_var)
        steps.append(term.cpu())
        log_q = -_normal_nats(z, ends.large[k])
        path.append(log_q + _step_nats(x_s, x_t, estimate.double(), t, s, schedule, log_var))
        x_s = x_t
    path_prior = _normal_nats(
        x_s / schedule.prior_std, torch.tensor(2 * math.log(schedule.prior_std))
    )
    return ChainLikelihood(
        prior_term(x0, schedule).cpu(),
        torch.stack(steps, dim=1),
        bits_per_dim(path_prior).cpu(),
        torch.stack([bits_per_dim(nats).cpu() for nats in path], dim=1),
        times[:-1].flip(0),
    )


def _forward(
    x_s: Tensor, z: Tensor, log_beta: Tensor, t: Tensor, s: Tensor, schedule: NoiseSchedule
) -> Tensor:
    """Draw from q(x_t | x_s)."""
    return (schedule.alpha(t) / schedule.alpha(s)) * x_s + torch.exp(log_beta / 2) * z


def _step_nats(
    x_s: Tensor,
    x_t: Tensor,
    estimate: Tensor,
    t: Tensor,
    s: Tensor,
    schedule: NoiseSchedule,
    log_var: Tensor,
) -> Tensor:
    """Give -log p(x_s | x_t), as ``x_s``; the decoder's where s is 0."""
    mean = posterior(x_t, estimate, t, s, schedule).mean
    if s == 0:
        return decoder_nats(x_s, mean, log_var)
    return _normal_nats((x_s - mean) * torch.exp(-log_var / 2), log_var)


def _normal_nats(z: Tensor, log_var: Tensor) -> Tensor:
    """Give -log of a normal density at ``z`` standard deviations from its mean, as ``z``."""
    return (z**2 + log_var + math.log(2 * math.pi)) / 2
