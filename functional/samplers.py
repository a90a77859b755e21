"""Samplers of diffusion models: free functions over a denoiser, one signature for all.

``sampler(denoiser, x, times, schedule, noise, trace=None, **its own options) -> x_0``

* ``denoiser(x_t, t)``: the estimate of x_0, as ``x_t``; ``t`` is a scalar float64 tensor.
* ``x``: ``(N, C, H, W)`` at ``times[0]``, usually ``prior_std * noise``.
* ``times``: ``(K + 1,)`` float64, falling, the last one 0 (see ``functional.time_grid``).
* ``noise(*shape)``: standard normal noise of the images' shape; called by stochastic samplers only.
* ``trace(k, x_t, x_0)``: called at every step with the state and the estimate of x_0.

The estimate of eps is always derived from the estimate of x_0, so a denoiser that clips x_0 is
handled consistently by all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from functional.diffusion import posterior
from functional.noise_schedule import NoiseSchedule
from functional.reverse_variance import (
    LogVariances,
    check_variance,
    log_variance,
    step_log_variances,
)

Denoiser = Callable[[Tensor, Tensor], Tensor]
Noise = Callable[..., Tensor]
Trace = Callable[[int, Tensor, Tensor], None]


def ancestral(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    schedule: NoiseSchedule,
    noise: Noise,
    trace: Trace | None = None,
    variance: str = "fixed_large",
) -> Tensor:
    """Sample x_s ~ p(x_s | x_t) down the chain (Ho et al. 2020, algorithm 2), at any respacing.

    ``variance``: "fixed_small" is the posterior's, "fixed_large" is beta of the step, "learnt" is
    between them where ``denoiser.with_variance(x_t, t) -> (x_0, fraction)`` says.
    """
    check_variance(variance)
    ends = step_log_variances(schedule, times)
    for k, (t, s) in enumerate(pairwise(times)):
        if variance == "learnt":
            x0, fraction = _with_variance(denoiser, x, t)
        else:
            x0, fraction = denoiser(x, t), None
        if trace:
            trace(k, x, x0)
        x = posterior(x, x0, t, s, schedule).mean
        if s > 0:
            step = LogVariances(ends.small[k], ends.large[k])
            spread = torch.exp(log_variance(variance, step, fraction) / 2)
            x = x + spread.to(x.dtype) * noise(*x.shape[1:])
    return x


def _with_variance(denoiser: Denoiser, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    asked = getattr(denoiser, "with_variance", None)
    x0, fraction = asked(x, t) if asked else (x, None)
    if fraction is None:
        raise ValueError(
            "variance 'learnt', but this denoiser says nothing of it; "
            "give fixed_small or fixed_large"
        )
    return x0, fraction


def ddim(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    schedule: NoiseSchedule,
    noise: Noise,
    trace: Trace | None = None,
    eta: float = 0.0,
) -> Tensor:
    """Sample by DDIM (Song et al. 2021, eq. 12); eta 0 is deterministic, 1 has DDPM's variance."""
    if eta < 0:
        raise ValueError(f"eta must not be negative, got {eta}")
    for k, (t, s) in enumerate(pairwise(times)):
        x0 = denoiser(x, t)
        if trace:
            trace(k, x, x0)
        spread = eta * posterior(x, x0, t, s, schedule).variance.sqrt()
        x = _ddim_step(x, x0, t, s, schedule, spread)
        if eta > 0 and s > 0:
            x = x + spread.to(x.dtype) * noise(*x.shape[1:])
    return x


def _ddim_step(
    x: Tensor,
    x0: Tensor,
    t: Tensor,
    s: Tensor,
    schedule: NoiseSchedule,
    spread: Tensor | float = 0.0,
) -> Tensor:
    alpha_t, sigma_t = schedule.alpha(t), schedule.sigma(t)
    alpha_s, sigma_s = schedule.alpha(s), schedule.sigma(s)
    kept = (sigma_s**2 - spread**2).clamp(min=0).sqrt() / sigma_t
    return kept.to(x.dtype) * x + (alpha_s - kept * alpha_t).to(x.dtype) * x0


def euler(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    schedule: NoiseSchedule,
    noise: Noise,
    trace: Trace | None = None,
) -> Tensor:
    """Integrate the probability-flow ODE by Euler's method in the clock of the schedule."""
    for k, (t, s) in enumerate(pairwise(times)):
        x0 = denoiser(x, t)
        if trace:
            trace(k, x, x0)
        x = _ode_step(x, [_slope(x, x0, t, schedule)], t, s, schedule) if s > 0 else x0
    return x


def heun(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    schedule: NoiseSchedule,
    noise: Noise,
    trace: Trace | None = None,
) -> Tensor:
    """Integrate the probability-flow ODE by Heun's method (Karras et al. 2022, algorithm 1).

    Two evaluations a step and one at the last: 2 K - 1 in all.
    """
    for k, (t, s) in enumerate(pairwise(times)):
        x0 = denoiser(x, t)
        if trace:
            trace(k, x, x0)
        if s == 0:
            return x0
        slope = _slope(x, x0, t, schedule)
        ahead = _ode_step(x, [slope], t, s, schedule)
        corrected = _slope(ahead, denoiser(ahead, s), s, schedule)
        x = _ode_step(x, [slope, corrected], t, s, schedule)
    return x


def _slope(x: Tensor, x0: Tensor, t: Tensor, schedule: NoiseSchedule) -> Tensor:
    alpha, sigma = schedule.alpha(t).to(x.dtype), schedule.sigma(t).to(x.dtype)
    return schedule.drift(x0, (x - alpha * x0) / sigma, t)


def _ode_step(
    x: Tensor, slopes: list[Tensor], t: Tensor, s: Tensor, schedule: NoiseSchedule
) -> Tensor:
    length = (schedule.clock(s) - schedule.clock(t)).to(x.dtype)
    return x + length * (sum(slopes[1:], slopes[0]) / len(slopes))


def adams_bashforth(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    schedule: NoiseSchedule,
    noise: Noise,
    trace: Trace | None = None,
) -> Tensor:
    """Integrate the probability-flow ODE by the two-step Adams-Bashforth method.

    Second order at one evaluation a step; Euler in the first step.
    """
    clock = schedule.clock(times)
    earlier: Tensor | None = None
    for k, (t, s) in enumerate(pairwise(times)):
        x0 = denoiser(x, t)
        if trace:
            trace(k, x, x0)
        slope = _slope(x, x0, t, schedule)
        ahead = slope
        if earlier is not None:
            ratio = (clock[k + 1] - clock[k]) / (clock[k] - clock[k - 1])
            ahead = slope + (ratio / 2).to(x.dtype) * (slope - earlier)
        x = _ode_step(x, [ahead], t, s, schedule)
        earlier = slope
    return x


def dpm_solver_pp(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    schedule: NoiseSchedule,
    noise: Noise,
    trace: Trace | None = None,
) -> Tensor:
    """Sample by DPM-Solver++(2M) (Lu et al. 2022, algorithm 2): order 2, one evaluation a step.

    First order in the first and the last step.
    """
    log_snr = torch.log(schedule.alpha(times) / schedule.sigma(times))
    earlier: Tensor | None = None
    for k, (t, s) in enumerate(pairwise(times)):
        x0 = denoiser(x, t)
        if trace:
            trace(k, x, x0)
        ahead = x0
        if earlier is not None and s > 0:
            step, before = log_snr[k + 1] - log_snr[k], log_snr[k] - log_snr[k - 1]
            ahead = x0 + (step / (2 * before)).to(x.dtype) * (x0 - earlier)
        x = _ddim_step(x, ahead, t, s, schedule)
        earlier = x0
    return x


SAMPLERS: dict[str, Callable[..., Tensor]] = {
    "ancestral": ancestral,
    "ddim": ddim,
    "euler": euler,
    "heun": heun,
    "adams_bashforth": adams_bashforth,
    "dpm_solver_pp": dpm_solver_pp,
}


def evaluations(sampler: str, steps: int) -> int:
    """Give the number of function evaluations (NFE) per image."""
    return 2 * steps - 1 if sampler == "heun" else steps
