"""The way back: the noise from which a deterministic sampler makes a given image."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from functional.noise_schedule import NoiseSchedule
from functional.sampler_steps import Denoiser, Trace, ddim_step


def ddim_inversion(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    schedule: NoiseSchedule,
    trace: Trace | None = None,
    iterations: int = 0,
) -> Tensor:
    """Give the noise, as at ``times[0]``, that DDIM of eta 0 takes to ``x`` down the same times.

    Song et al. 2021, section 4.3. A step from s up to t ought to use the estimate at t, which is
    not known yet: it is taken at s, and then improved by fixed-point ``iterations`` of one
    evaluation each, until the step down leads back to where it came from. The step between the
    image and the first time does not determine its image, so there is nothing to improve in it.

    Args:
        denoiser, times, schedule, trace: as for a sampler (see ``functional.samplers``).
        x: images ``(N, C, H, W)``.
        iterations: 0 is the plain inversion; a few make encoding and decoding a round trip where
            steps are short enough for the iteration to contract.
    """
    if iterations < 0:
        raise ValueError(f"iterations={iterations} is negative; use 0 or more")
    upwards = torch.flip(times, dims=(0,))
    for k, (s, t) in enumerate(pairwise(upwards)):
        at = s if s > 0 else t
        x0 = denoiser(x, at)
        if trace:
            trace(k, x, x0)
        above = _step_up(x, x0, s, t, schedule)
        for _ in range(iterations if s > 0 else 0):
            above = _step_up(x, denoiser(above, t), s, t, schedule)
        x = above
    return x


def _step_up(x: Tensor, x0: Tensor, s: Tensor, t: Tensor, schedule: NoiseSchedule) -> Tensor:
    if s > 0:
        return ddim_step(x, x0, s, t, schedule)
    # The image stays the estimate; its noise is what the denoiser at t takes for noise in it.
    alpha = schedule.alpha(t).to(x.dtype)
    return alpha * x + (x - alpha * x0)
