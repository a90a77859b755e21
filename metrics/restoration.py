"""PSNR and SSIM of restored images, over the whole image and over what was hidden."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from functional.images import to_uint8
from functional.linear_operators import linear_operator

RANGE = 255.0
SMALLEST_ERROR = 1 / 12
"""Mean squared error of rounding to whole levels: no PSNR is above 58.9 dB, nor infinite."""
WINDOW, SIGMA = 11, 1.5
C1, C2 = (0.01 * RANGE) ** 2, (0.03 * RANGE) ** 2


def quantised(images: Tensor) -> Tensor:
    """Give float64 whole numbers in [0, 255] of images in [-1, 1], clamped and rounded."""
    return to_uint8(images).double()


def psnr(restored: Tensor, clean: Tensor, where: Tensor | None = None) -> Tensor:
    """Give the peak signal-to-noise ratio of each image in dB, ``(N,)``, for a range of 255.

    The squared error is averaged over pixels and channels of one image, and counts as at least
    that of rounding.

    Args:
        restored, clean: ``(N, C, H, W)`` in [0, 255].
        where: bool ``(N, 1, H, W)``, the pixels that count; None for all. An image without any is
            nan.
    """
    error = (restored - clean).square()
    return 10 * torch.log10(RANGE**2 / mean_over(error, where).clamp(min=SMALLEST_ERROR))


def ssim_map(restored: Tensor, clean: Tensor) -> Tensor:
    """Give the structural similarity around each pixel, ``(N, C, H, W)``, at most 1.

    Wang et al. (2004): a Gaussian window of 11 x 11 with sigma 1.5, K1 = 0.01, K2 = 0.03, a range
    of 255. A window that reaches over the border counts the pixels inside alone; the paper has no
    such windows.
    """
    weight = window_mean(torch.ones_like(clean[:1, :1]))

    def mean(images: Tensor) -> Tensor:
        return window_mean(images) / weight

    mu_x, mu_y = mean(restored), mean(clean)
    variance_x = mean(restored.square()) - mu_x.square()
    variance_y = mean(clean.square()) - mu_y.square()
    covariance = mean(restored * clean) - mu_x * mu_y
    luminance = (2 * mu_x * mu_y + C1) / (mu_x.square() + mu_y.square() + C1)
    structure: Tensor = (2 * covariance + C2) / (variance_x + variance_y + C2)
    return luminance * structure


def window_mean(images: Tensor) -> Tensor:
    """Give the Gaussian-weighted sum around each pixel, zeros outside; ``(N, C, H, W)``."""
    place = torch.arange(WINDOW, dtype=images.dtype, device=images.device) - WINDOW // 2
    weights = torch.exp(-place.square() / (2 * SIGMA**2))
    weights = weights / weights.sum()
    n, channels, height, width = images.shape
    flat = images.reshape(n * channels, 1, height, width)
    flat = F.conv2d(flat, weights.view(1, 1, -1, 1), padding=(WINDOW // 2, 0))
    flat = F.conv2d(flat, weights.view(1, 1, 1, -1), padding=(0, WINDOW // 2))
    return flat.view_as(images)


def ssim(restored: Tensor, clean: Tensor, where: Tensor | None = None) -> Tensor:
    """Give the mean structural similarity of each image, ``(N,)``.

    Args:
        restored, clean: ``(N, C, H, W)`` in [0, 255].
        where: bool ``(N, 1, H, W)``, the pixels around which it is averaged. None for the paper's
            windows, those that lie inside the image; all where the image is smaller than one.
    """
    similarity, edge = ssim_map(restored, clean), WINDOW // 2
    if where is None and min(clean.shape[2:]) >= WINDOW:
        similarity = similarity[:, :, edge:-edge, edge:-edge]
    return mean_over(similarity, where)


def mean_over(values: Tensor, where: Tensor | None) -> Tensor:
    """Give the mean ``(N,)`` of ``(N, C, H, W)`` over the pixels ``where`` ``(N, 1, H, W)``."""
    if where is None:
        return values.mean(dim=(1, 2, 3))
    chosen = where.to(values.dtype).expand_as(values)
    return (values * chosen).sum(dim=(1, 2, 3)) / chosen.sum(dim=(1, 2, 3))


def image_scores(restored: Tensor, clean: Tensor, hidden: Tensor | None) -> dict[str, Tensor]:
    """Give each image's scores ``(N,)`` by name, of images in [-1, 1] as they are when saved.

    ``psnr`` and ``ssim`` are of the whole image; where pixels are ``hidden``, bool
    ``(N, 1, H, W)``, ``-masked`` is of these alone and ``-pasted`` of the image with the true
    visible pixels in place. Pasting leaves ``psnr-masked`` as it is.
    """
    x, y = quantised(restored), quantised(clean)
    scores = {"psnr": psnr(x, y), "ssim": ssim(x, y)}
    if hidden is not None:
        pasted = torch.where(hidden, x, y)
        scores |= {"psnr-masked": psnr(x, y, hidden), "ssim-masked": ssim(x, y, hidden)}
        scores |= {"psnr-pasted": psnr(pasted, y), "ssim-pasted": ssim(pasted, y)}
        scores["ssim-masked-pasted"] = ssim(pasted, y, hidden)
    return scores


def consistency(restored: Tensor, measured: Tensor, operator: Any) -> Tensor:
    """Give the root mean square of A x - y of each image, ``(N,)``, for images in [-1, 1].

    Noise is left out of A: where y has some, the truth itself is its standard deviation away.

    Args:
        restored, measured: x and y, ``(N, C, H, W)``.
        operator: what was done; where it is not linear, as it is.
    """
    with contextlib.suppress(ValueError):
        operator = linear_operator(operator)
    apart: Tensor = operator.apply(restored) - measured
    return apart.square().mean(dim=(1, 2, 3)).sqrt()
