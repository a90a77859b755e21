"""What needs no model: hidden pixels filled from the visible ones, noise filtered away."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def mean_fill(images: Tensor, hidden: Tensor) -> Tensor:
    """Give ``images`` with each channel's mean over its visible pixels at the hidden ones.

    Args:
        images: ``(N, C, H, W)``.
        hidden: bool ``(N, 1, H, W)``; where all is hidden the mean counts as 0.
    """
    visible = (~hidden).to(images.dtype)
    total = (images * visible).sum(dim=(2, 3), keepdim=True)
    mean = total / visible.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    return torch.where(hidden, mean, images)


def bilinear_fill(images: Tensor, hidden: Tensor) -> Tensor:
    """Give ``images`` with the hidden pixels interpolated bilinearly from a pyramid.

    Pull and push (Gortler et al. 1996, "The Lumigraph", section 3.4): visible pixels are averaged
    to half the size until none is without a value, and hidden ones are then taken from the next
    coarser level, interpolated.

    Args:
        images: ``(N, C, H, W)``.
        hidden: bool ``(N, 1, H, W)``; where all is hidden the result is 0.
    """
    weight = (~hidden).to(images.dtype)
    return _pull_push(images * weight, weight)


def _pull_push(images: Tensor, weight: Tensor) -> Tensor:
    """Fill ``images`` where ``weight``, 0 or 1, is 0; they are 0 there."""
    size = images.shape[2:]
    if max(size) == 1 or bool((weight > 0).all()):
        return images
    pool = {"kernel_size": 2, "ceil_mode": True, "divisor_override": 1}
    pulled, count = (F.avg_pool2d(x, **pool) for x in (images, weight))  # type: ignore[arg-type]
    coarse = _pull_push(pulled / count.clamp(min=1), (count > 0).to(weight.dtype))
    pushed = F.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
    return torch.where(weight > 0, images, pushed)


def median_filter(images: Tensor, size: int = 3) -> Tensor:
    """Give each pixel's median over ``size`` x ``size``, edges repeated; ``(N, C, H, W)``.

    Raises:
        ValueError: for an even size.
    """
    if size < 1 or size % 2 == 0:
        raise ValueError(f"a median over {size} x {size} pixels has no centre; use an odd size")
    padded = F.pad(images, [size // 2] * 4, mode="replicate")
    windows = padded.unfold(2, size, 1).unfold(3, size, 1)
    return windows.flatten(4).median(dim=4).values
