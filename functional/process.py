"""The two processes of a diffusion model side by side, at the same times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from functional.diffusion import SIGMA_DATA, posterior, q_sample
from functional.noise_schedule import NoiseSchedule
from functional.sampler_steps import Denoiser


class Process(NamedTuple):
    """K times from noise to image and what is where then (Sohl-Dickstein et al. 2015, figure 1).

    times: float64 ``(K,)``, falling from the last time to 0.
    forward: ``(K, N, C, H, W)``, images on their way to noise; of one image the same noise, scaled.
    reverse: ``(K, M, C, H, W)``, a sampler's states on their way from noise to images.
    drift: ``(K - 1, P, C, H, W)``, where the reverse step's mean moves each place of a field, over
        the step that begins at each time but the last.
    """

    times: Tensor
    forward: Tensor
    reverse: Tensor
    drift: Tensor


def spread(count: int, among: int) -> list[int]:
    """Give ``count`` places or all of ``0..among - 1``, evenly spaced, both ends included."""
    return torch.linspace(0, among - 1, min(count, among)).round().long().tolist()


def evenly_noisy(grid: Tensor, schedule: NoiseSchedule, count: int) -> list[int]:
    """Give up to ``count`` places of a falling ``grid``, both ends included, as noise grows evenly.

    What grows is sigma / (sigma + alpha SIGMA_DATA), the noise's share of the standard deviation:
    equal steps of t would show noise alone most of the time.
    """
    alpha, sigma = schedule.alpha(grid), schedule.sigma(grid)
    share = sigma / (sigma + alpha * SIGMA_DATA)
    wanted = torch.linspace(float(share[0]), float(share[-1]), count, dtype=share.dtype)
    nearest = (wanted[:, None] - share[None]).abs().argmin(dim=1)
    return sorted(set(nearest.tolist()))


def process(
    denoiser: Denoiser,
    schedule: NoiseSchedule,
    grid: Tensor,
    states: Sequence[Tensor],
    images: Tensor,
    noise: Tensor,
    field: Tensor,
    frames: int,
) -> Process:
    """Give both processes at ``frames`` times of a sampler's grid.

    Args:
        denoiser: gives the estimate of x_0.
        grid: the sampler's ``(K + 1,)`` falling times.
        states: the sampler's state at each of them.
        images, noise: ``(N, C, H, W)``, of the forward process.
        field: ``(P, C, H, W)``, the places whose drift is asked for.
        frames: times picked, at most; see :func:`evenly_noisy`.
    """
    picked = evenly_noisy(grid, schedule, frames)
    forward = [q_sample(images, noise, grid[k], schedule) for k in picked]
    drift = [
        posterior(field, denoiser(field, grid[k]), grid[k], grid[k + 1], schedule).mean - field
        for k in picked[:-1]
    ]
    return Process(
        grid[picked],
        torch.stack(forward),
        torch.stack([states[k] for k in picked]),
        torch.stack(drift),
    )
