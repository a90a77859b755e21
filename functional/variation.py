"""Images that are kin to given ones: part of the way to noise, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from functional.diffusion import q_sample
from functional.inversion import ddim_inversion
from functional.noise_schedule import NoiseSchedule
from functional.sampler_steps import Denoiser, Noise
from functional.samplers import ddim


def check_strength(strength: float) -> None:
    """Refuse a strength outside [0, 1] (ValueError)."""
    if not 0 <= strength <= 1:
        raise ValueError(
            f"strength={strength} lies outside [0, 1]: 0 is the image itself, 1 a new one"
        )


def times_from(times: Tensor, schedule: NoiseSchedule, strength: float) -> Tensor:
    """Give the falling ``times`` of a sampler from the place where noise has a share ``strength``.

    The share is sigma / (sigma + alpha), which is the time of the linear path: the same strength
    leaves equally much of an image on every schedule. 1 is all of ``times``, 0 the last alone.

    Raises:
        ValueError: for a strength outside [0, 1].
    """
    check_strength(strength)
    if strength == 1:
        return times
    if strength == 0:
        return times[-1:]
    share = torch.tensor(strength, dtype=torch.float64, device=times.device)
    first = schedule.time_of(share.logit())
    return times_below(times, first)


def times_below(times: Tensor, first: Tensor) -> Tensor:
    """Give ``first`` and those of the falling ``times`` below it."""
    first = torch.minimum(first.to(times), times[0])
    return torch.cat([first.view(1), times[times < first]])


def sdedit_start(
    images: Tensor, times: Tensor, schedule: NoiseSchedule, strength: float, noise: Noise
) -> Tensor:
    """Give what a sampler goes on from, at the first of ``times`` (Meng et al. 2022, algorithm 1).

    Args:
        images: ``(N, C, H, W)``.
        times: of :func:`times_from` at this strength, which 1 makes noise alone.
    """
    drawn = noise(*images.shape[1:])
    if strength == 1:
        return schedule.prior_std * drawn
    return q_sample(images, drawn, times[0], schedule)


def sdedit(
    sampler: Callable[..., Tensor],
    denoiser: Denoiser,
    images: Tensor,
    strength: float,
    times: Tensor,
    schedule: NoiseSchedule,
    noise: Noise,
    **options: Any,
) -> Tensor:
    """Give images that keep what noise of a share ``strength`` leaves of ``images``.

    Stochastic editing (Meng et al. 2022): 0 gives the images themselves, 1 plain samples.

    Args:
        sampler: of ``functional.samplers``, with its ``options``.
        denoiser, schedule, noise: as for a sampler.
        images: ``(N, C, H, W)``.
        strength: see :func:`times_from`.
        times: of sampling from noise.
    """
    times = times_from(times, schedule, strength)
    if strength == 0:
        return images
    x = sdedit_start(images, times, schedule, strength, noise)
    return sampler(denoiser, x, times, schedule, noise, **options)


def ddim_edit(
    source: Denoiser,
    target: Denoiser,
    images: Tensor,
    strength: float,
    times: Tensor,
    schedule: NoiseSchedule,
    iterations: int = 0,
) -> Tensor:
    """Give ``images`` encoded by one denoiser, say of their label, and decoded by another.

    DDIM there and back (Song et al. 2021, section 4.3; Su et al. 2023 with two models). Nothing is
    random: what the two denoisers agree on is kept, the more so the lower the ``strength``.

    Args:
        source, target: of the images and of what they are to become.
        iterations: see ``functional.inversion.ddim_inversion``.
    """
    times = times_from(times, schedule, strength)
    if strength == 0:
        return images
    noisy = ddim_inversion(source, images, times, schedule, iterations=iterations)
    return ddim(target, noisy, times, schedule, _no_noise)


def _no_noise(*shape: int) -> Tensor:
    raise RuntimeError("DDIM of eta 0 draws no noise")
