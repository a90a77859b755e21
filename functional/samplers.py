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
from functional.dpm_solver import dpm_solver_pp, dpm_solver_pp_sde
from functional.noise_schedule import NoiseSchedule
from functional.ode_solvers import adams_bashforth, euler, heun
from functional.reverse_variance import (
    LogVariances,
    check_variance,
    log_variance,
    step_log_variances,
)
from functional.sampler_steps import Denoiser, Noise, Trace, ddim_step


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
        x = ddim_step(x, x0, t, s, schedule, spread)
        if eta > 0 and s > 0:
            x = x + spread.to(x.dtype) * noise(*x.shape[1:])
    return x


SAMPLERS: dict[str, Callable[..., Tensor]] = {
    "ancestral": ancestral,
    "ddim": ddim,
    "euler": euler,
    "heun": heun,
    "adams_bashforth": adams_bashforth,
    "dpm_solver_pp": dpm_solver_pp,
    "dpm_solver_pp_sde": dpm_solver_pp_sde,
}


def evaluations(sampler: str, steps: int) -> int:
    """Give the number of function evaluations (NFE) per image, 0 for no steps."""
    return max(0, 2 * steps - 1) if sampler == "heun" else steps
