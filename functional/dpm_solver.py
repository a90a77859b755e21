"""DPM-Solver++ of second order (Lu et al. 2022); signature and words as in ``samplers``."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from functional.noise_schedule import NoiseSchedule
from functional.sampler_steps import Denoiser, Noise, Trace, ddim_step


def dpm_solver_pp(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    schedule: NoiseSchedule,
    noise: Noise,
    trace: Trace | None = None,
) -> Tensor:
    """Sample by DPM-Solver++(2M) (algorithm 2): order 2, one evaluation a step, no noise.

    First order in the first and the last step.
    """
    log_ratio = torch.log(schedule.alpha(times) / schedule.sigma(times))
    earlier: Tensor | None = None
    for k, (t, s) in enumerate(pairwise(times)):
        x0 = denoiser(x, t)
        if trace:
            trace(k, x, x0)
        x = ddim_step(x, _ahead(x0, earlier, log_ratio, k), t, s, schedule)
        earlier = x0
    return x


def dpm_solver_pp_sde(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    schedule: NoiseSchedule,
    noise: Noise,
    trace: Trace | None = None,
) -> Tensor:
    """Sample by SDE-DPM-Solver++(2M) (section 5 and appendix B): as 2M, on the reverse SDE.

    A step keeps e^(-2 h) of the noise's variance and draws the rest anew, with h the step of
    ln(alpha / sigma).
    """
    log_ratio = torch.log(schedule.alpha(times) / schedule.sigma(times))
    earlier: Tensor | None = None
    for k, (t, s) in enumerate(pairwise(times)):
        x0 = denoiser(x, t)
        if trace:
            trace(k, x, x0)
        if s == 0:
            return x0
        ahead = _ahead(x0, earlier, log_ratio, k)
        fresh = 1 - torch.exp(-2 * (log_ratio[k + 1] - log_ratio[k]))
        spread = schedule.sigma(s) * fresh.sqrt()
        kept = schedule.sigma(s) / schedule.sigma(t) * (1 - fresh).sqrt()
        x = kept.to(x.dtype) * x + (schedule.alpha(s) * fresh).to(x.dtype) * ahead
        x = x + spread.to(x.dtype) * noise(*x.shape[1:])
        earlier = x0
    return x


def _ahead(x0: Tensor, earlier: Tensor | None, log_ratio: Tensor, k: int) -> Tensor:
    """Give the estimate extrapolated by half of the k-th step; as it is in the first and last."""
    if earlier is None or not torch.isfinite(log_ratio[k + 1]):
        return x0
    step, before = log_ratio[k + 1] - log_ratio[k], log_ratio[k] - log_ratio[k - 1]
    return x0 + (step / (2 * before)).to(x0.dtype) * (x0 - earlier)
