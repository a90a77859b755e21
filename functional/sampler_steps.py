"""Single steps that samplers are made of."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from functional.noise_schedule import NoiseSchedule

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""``(x_t, t)`` -> the estimate of x_0, as ``x_t``; ``t`` is a scalar float64 tensor."""
Noise = Callable[..., Tensor]
"""``(*shape)`` -> standard normal noise ``(N, *shape)``."""
Trace = Callable[[int, Tensor, Tensor], None]
"""Called with (k, x_t, x_0) at the k-th step."""


def ddim_step(
    x: Tensor,
    x0: Tensor,
    t: Tensor,
    s: Tensor,
    schedule: NoiseSchedule,
    spread: Tensor | float = 0.0,
) -> Tensor:
    """Give x_s of ``x`` at t and the estimate ``x0``, its noise kept but for ``spread`` of it.

    Exact where the estimate does not change on the way; s may lie on either side of t.
    """
    alpha_t, sigma_t = schedule.alpha(t), schedule.sigma(t)
    alpha_s, sigma_s = schedule.alpha(s), schedule.sigma(s)
    kept = (sigma_s**2 - spread**2).clamp(min=0).sqrt() / sigma_t
    return kept.to(x.dtype) * x + (alpha_s - kept * alpha_t).to(x.dtype) * x0


def slope(x: Tensor, x0: Tensor, t: Tensor, schedule: NoiseSchedule) -> Tensor:
    """Give dx/dclock of the probability-flow ODE at ``x``, with the estimate ``x0`` there."""
    alpha, sigma = schedule.alpha(t).to(x.dtype), schedule.sigma(t).to(x.dtype)
    return schedule.drift(x0, (x - alpha * x0) / sigma, t)


def ode_step(
    x: Tensor, slopes: list[Tensor], t: Tensor, s: Tensor, schedule: NoiseSchedule
) -> Tensor:
    """Give x_s by the mean of ``slopes``, in the clock of the schedule."""
    length = (schedule.clock(s) - schedule.clock(t)).to(x.dtype)
    return x + length * (sum(slopes[1:], slopes[0]) / len(slopes))


def renoise(x: Tensor, t: Tensor, later: Tensor, schedule: NoiseSchedule, eps: Tensor) -> Tensor:
    """Give a draw from q(x_later | x_t) with the noise ``eps``, for ``later`` >= ``t``."""
    ratio = schedule.alpha(later) / schedule.alpha(t)
    added = (schedule.sigma(later) ** 2 - (ratio * schedule.sigma(t)) ** 2).clamp(min=0).sqrt()
    return ratio.to(x.dtype) * x + added.to(x.dtype) * eps
