"""The one place where images cross between bytes and the [-1, 1] floats of the platform."""

from __future__ import annotations

import torch
from torch import Tensor


def to_float(images: Tensor) -> Tensor:
    """Give float32 images in [-1, 1] from uint8 images of any shape: ``u / 127.5 - 1``."""
    return images.to(torch.float32).div_(127.5).sub_(1.0)


def to_uint8(images: Tensor) -> Tensor:
    """Give uint8 images from floats in [-1, 1] of any shape, clamped and rounded to nearest.

    Truncation instead of rounding would darken every image by half a level, and a cast without
    the clamp wraps (1.01 becomes 1): both move FID.

    Raises:
        ValueError: for integer input, or where a value is not finite.
    """
    if not images.is_floating_point():
        raise ValueError(f"to_uint8 takes floats in [-1, 1], got {images.dtype}")
    if not torch.isfinite(images).all():
        raise ValueError("images hold NaN or infinite values: the model that made them diverged")
    return images.float().mul(127.5).add(127.5).clamp(0, 255).round().to(torch.uint8)
