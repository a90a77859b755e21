"""Likelihood of images under the probability-flow ODE, in bits per dimension.

log p(x_0) = log p(x_T) + the integral of the divergence of the flow (Chen et al. 2018; Song et al.
2021, eq. 39). It is a density, and images are 8-bit levels, so it needs a dequantisation:

* "decoder": noise of the first time of the grid, and a decoder back: -log P(x_0) <= E_q[
  log q(x_1 | x_0) - log p(x_1) - log P(x_0 | x_1)], a bound for any model (Kingma et al. 2021).
* "uniform": noise that is uniform over the level, as published; the ODE then starts at alpha x_0,
  as if nothing were lost at the first time.
* "none": x_0 is real numbers, and the result the log density in bits/dim, without an interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from functional.noise_schedule import NoiseSchedule
from functional.variational_bound import HALF_LEVEL, bits_per_dim, decoder_nats

DEQUANTISATIONS = ("decoder", "uniform", "none")


class FlowState(NamedTuple):
    """Where images came to, ``(N, ...)`` float64, and log |d there / d start|, ``(N,)``."""

    x: Tensor
    log_volume: Tensor


def flow_bits(
    denoiser: Callable[[Tensor, Tensor], Tensor],
    x0: Tensor,
    times: Tensor,
    schedule: NoiseSchedule,
    noise: Callable[..., Tensor],
    dequantisation: str = "decoder",
    probes: int | None = 1,
) -> Tensor:
    """Give bits/dim ``(N,)`` of images ``x0``.

    Args:
        denoiser: estimates x_0 at a scalar time; differentiable, so not clipped.
        x0: ``(N, C, H, W)``.
        times: falling times, the last one 0; Heun's method walks the others upwards.
        schedule: of the noise.
        noise: ``noise(*shape)`` gives standard normal noise ``(N, *shape)``.
        dequantisation: "decoder", "uniform" or "none".
        probes: random vectors of Hutchinson's estimate of the divergence, +1 or -1 each (the mean
            is exact); None is the exact trace, as many gradients as an image has numbers.

    Raises:
        ValueError: for an unknown dequantisation or no probes.
    """
    if dequantisation not in DEQUANTISATIONS:
        raise ValueError(
            f"unknown dequantisation {dequantisation!r}; known: {', '.join(DEQUANTISATIONS)}"
        )
    if probes is not None and probes < 1:
        raise ValueError(f"probes={probes}; expected 1 or more, or null for the exact trace")
    up, x0 = times[:-1].flip(0), x0.double()
    vectors = None if probes is None else _signs(x0, probes, noise)
    alpha, sigma = (float(level(up[0])) for level in (schedule.alpha, schedule.sigma))
    if dequantisation == "decoder":
        eps = noise(*x0.shape[1:]).double()
        start = alpha * x0 + sigma * eps
        end = integrate(denoiser, start, up, schedule, vectors)
        log_q = -_normal_nats(eps) - math.log(sigma)
        with torch.no_grad():
            estimate = denoiser(start.float(), up[0]).double()
        variance = torch.tensor(2 * math.log(sigma / alpha), dtype=torch.float64)
        return bits_per_dim(log_q + decoder_nats(x0, estimate, variance)) + _bits(end, schedule)
    if dequantisation == "uniform":
        x0 = x0 + 2 * HALF_LEVEL * (torch.special.ndtr(noise(*x0.shape[1:]).double()) - 0.5)
    end = integrate(denoiser, alpha * x0, up, schedule, vectors)
    width = 2 * HALF_LEVEL if dequantisation == "uniform" else 1.0
    return _bits(end, schedule) - math.log2(alpha * width)


def _bits(end: FlowState, schedule: NoiseSchedule) -> Tensor:
    """Give -log2 of the density at the start of the flow, per dimension, ``(N,)``."""
    size = end.x[0].numel()
    scaled = _normal_nats(end.x / schedule.prior_std) + math.log(schedule.prior_std)
    return bits_per_dim(scaled) - end.log_volume / (size * math.log(2))


def _normal_nats(z: Tensor) -> Tensor:
    return (z**2 + math.log(2 * math.pi)) / 2


def _signs(x0: Tensor, probes: int, noise: Callable[..., Tensor]) -> list[Tensor]:
    """Draw vectors of +1 and -1, the same along a whole path."""
    return [noise(*x0.shape[1:]).double().sign() for _ in range(probes)]


def integrate(
    denoiser: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    up: Tensor,
    schedule: NoiseSchedule,
    vectors: list[Tensor] | None,
) -> FlowState:
    """Walk the ODE from ``up[0]`` to ``up[-1]`` by Heun's method, two evaluations a step.

    Args:
        denoiser, schedule: see :func:`flow_bits`.
        x: ``(N, ...)`` float64 at ``up[0]``.
        up: rising times.
        vectors: for the divergence; None is the exact trace.
    """
    log_volume = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for t, s in pairwise(up):
        length = (schedule.clock(s) - schedule.clock(t)).to(x.device)
        slope, divergence = _slope(denoiser, x, t, schedule, vectors)
        ahead, divergence_ahead = _slope(denoiser, x + length * slope, s, schedule, vectors)
        x = x + length * (slope + ahead) / 2
        log_volume = log_volume + length * (divergence + divergence_ahead) / 2
    return FlowState(x, log_volume)


def _slope(
    denoiser: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    t: Tensor,
    schedule: NoiseSchedule,
    vectors: list[Tensor] | None,
) -> tuple[Tensor, Tensor]:
    """Give dx/dclock, as ``x``, and its divergence ``(N,)``."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        x0 = denoiser(x.float(), t).double()
        eps = (x - schedule.alpha(t).to(x.device) * x0) / schedule.sigma(t).to(x.device)
        slope = schedule.drift(x0, eps, t)
        divergence = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        for vector in _unit_vectors(x) if vectors is None else vectors:
            (product,) = torch.autograd.grad((slope * vector).sum(), x, retain_graph=True)
            divergence = divergence + (product * vector).flatten(1).sum(dim=1)
    return slope.detach(), divergence / (1 if vectors is None else len(vectors))


def _unit_vectors(x: Tensor) -> list[Tensor]:
    size = x[0].numel()
    return list(torch.eye(size, dtype=x.dtype, device=x.device).view(size, 1, *x.shape[1:]))
