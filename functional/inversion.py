"""The way back: the noise from which a deterministic sampler makes a given image."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from functional.noise_schedule import NoiseSchedule
from functional.sampler_steps import Denoiser, Trace


def ddim_inversion(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    schedule: NoiseSchedule,
    trace: Trace | None = None,
    iterations: int = 0,
) -> Tensor:
    """Give the noise, as at ``times[0]``, that DDIM of eta 0 takes to ``x`` down the same times.

    Song et al. 2021, section 4.3. A step down from t to s uses the estimate at x_t, which on the
    way up is not known yet: it is taken at x_s, and then improved by fixed-point ``iterations`` of
    one evaluation each, until the step down leads back to where it came from. The step from the
    image itself does not determine its noise, so there is nothing to improve in it.

    Args:
        denoiser, times, schedule, trace: as for a sampler (see ``functional.samplers``).
        x: images ``(N, C, H, W)``.
        iterations: 0 is the plain inversion; with a few, encoding and decoding are a round trip
            where steps are short enough for the iteration to contract.

    Raises:
        ValueError: for negative ``iterations``.
    """
    if iterations < 0:
        raise ValueError(f"iterations={iterations} is negative; use 0 or more")
    upwards = torch.flip(times, dims=(0,))
    for k, (s, t) in enumerate(pairwise(upwards)):
        x0 = denoiser(x, t)
        if trace:
            trace(k, x, x0)
        above = _step_up(x, x, x0, s, t, schedule)
        for _ in range(iterations if s > 0 else 0):
            above = _step_up(x, above, denoiser(above, t), s, t, schedule)
        x = above
    return x


def _step_up(
    x: Tensor, at: Tensor, x0: Tensor, s: Tensor, t: Tensor, schedule: NoiseSchedule
) -> Tensor:
    """Give x_t of ``x`` at s, the noise being what the estimate ``x0`` takes for it in ``at``."""
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    if alpha == 0:
        # Nothing of an image is left that an estimate could be told from: what x holds beyond it.
        ahead = x - schedule.alpha(s).to(x.dtype) * x0
        return (sigma / schedule.sigma(s)).to(x.dtype) * ahead
    eps = (at - alpha.to(x.dtype) * x0) / sigma.to(x.dtype)
    ratio = alpha / schedule.alpha(s)
    return ratio.to(x.dtype) * x + (sigma - ratio * schedule.sigma(s)).to(x.dtype) * eps
