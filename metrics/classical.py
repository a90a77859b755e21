"""Restoring without a model: what stands beside one in the table of scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from functional.fill import bilinear_fill, mean_fill, median_filter
from functional.total_variation import denoise_total_variation
from metrics.restoration import psnr, quantised

Filter = Callable[[Tensor, Any], Tensor]


def averaged(images: Tensor, side: int) -> Tensor:
    """Give the means of squares of about ``side`` pixels, interpolated bilinearly to full size."""
    size = images.shape[-2:]
    means = F.interpolate(images, size=[max(1, length // side) for length in size], mode="area")
    return F.interpolate(means, size=size, mode="bilinear", align_corners=False)


FILTERS: dict[str, tuple[Filter, Sequence[float]]] = {
    "median": (median_filter, (3, 5, 7)),
    "tv": (denoise_total_variation, [0.02 * 2 ** (k / 2) for k in range(19)]),
    "bilinear": (averaged, (2, 3, 4, 7)),
}
"""By name, and the strengths to choose from: sides of the window in pixels; weights of total
variation for images in [-1, 1], 0.02 to 10.24, each the square root of 2 times the last one; sides
of the squares in pixels."""

TUNING_IMAGES = 64
"""Training images that strengths are chosen on."""


def tuned_strengths(clean: Tensor, operator: Any) -> dict[str, float]:
    """Give for each filter the strength whose mean PSNR is best on ``clean``, corrupted.

    Empty where pixels are hidden: what fills them has no strength.

    Args:
        clean: training images ``(N, C, H, W)`` in [-1, 1].
        operator: corrupts them, as the task corrupts the images that are scored.
    """
    if getattr(operator, "mask", None) is not None:
        return {}
    corrupted, target = operator.apply(clean), quantised(clean)

    def score(apply: Filter, strength: float) -> float:
        return float(psnr(quantised(apply(corrupted, strength)), target).mean())

    return {
        name: max(strengths, key=lambda strength: score(apply, strength))
        for name, (apply, strengths) in FILTERS.items()
    }


def baselines(
    corrupted: Tensor, operator: Any, strengths: Mapping[str, float]
) -> dict[str, Tensor]:
    """Give restored images ``(N, C, H, W)`` by the name of what restored them.

    ``corrupted`` as it is; where pixels are hidden their ``mean-fill`` and a ``bilinear``
    interpolation, else ``median``, ``tv`` (total variation) and ``bilinear`` (means of squares,
    interpolated); where pixels were averaged, ``bilinear`` is of those averages.

    Args:
        corrupted: in about [-1, 1].
        operator: what was done; its ``mask``, bool ``(N, 1, H, W)``, is of hidden pixels, its
            ``factor`` the side of the squares that were averaged.
        strengths: of :func:`tuned_strengths`.
    """
    hidden: Tensor | None = getattr(operator, "mask", None)
    if hidden is not None:
        hidden = hidden.to(corrupted.device)
        return {
            "corrupted": corrupted,
            "mean-fill": mean_fill(corrupted, hidden),
            "bilinear": bilinear_fill(corrupted, hidden),
        }
    found = {name: FILTERS[name][0](corrupted, strength) for name, strength in strengths.items()}
    factor: int | None = getattr(operator, "factor", None)
    if factor is not None:
        found["bilinear"] = enlarge(F.avg_pool2d(corrupted, factor), factor)
    return {"corrupted": corrupted, **found}


def enlarge(images: Tensor, factor: int) -> Tensor:
    """Give ``images`` ``(N, C, H, W)`` interpolated bilinearly to ``factor`` times their size."""
    return F.interpolate(images, scale_factor=float(factor), mode="bilinear", align_corners=False)
