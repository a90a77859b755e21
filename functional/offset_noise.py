"""Gaussian noise whose mean over each channel varies more (Guttenberg 2023)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def with_offset(noise: Tensor, strength: float) -> Tensor:
    """Give ``noise`` ``(N, C, H, W)`` plus ``strength`` times one normal number per channel.

    The covariance over the pixels of a channel is then I + strength^2, so a process with it removes
    an image's mean colour too, which little noise leaves at the end of a short schedule.
    """
    if not strength:
        return noise
    shifts = torch.randn(*noise.shape[:2], *(1,) * (noise.ndim - 2), device=noise.device)
    return noise + strength * shifts.to(noise.dtype)


class OffsetNoise:
    """Noise for sampling from ``noise(*shape)``, shifted as in training.

    A reverse process must begin, and go on, with the noise that the forward process ended in.
    """

    def __init__(self, noise: Callable[..., Tensor], strength: float) -> None:
        self.noise, self.strength = noise, strength

    def __call__(self, *shape: int) -> Tensor:
        """Draw noise ``(N, *shape)`` for ``shape`` (C, H, W)."""
        drawn = self.noise(*shape)
        if not self.strength:
            return drawn
        return drawn + self.strength * self.noise(shape[0], *(1,) * (len(shape) - 1))
