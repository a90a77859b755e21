"""How far apart two sets of points are, without a density or features: the energy distance."""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 1024
"""Rows of a matrix of distances held at once."""


def energy_distance(x: Tensor, y: Tensor) -> float:
    """Give 2 E|X - Y| - E|X - X'| - E|Y - Y'| (Székely & Rizzo 2013), float64.

    It is 0 where both sets have one distribution and positive else. The estimate is the unbiased
    one, so that equal distributions give values around 0, negative ones too; of n points each they
    spread by about E|X - Y| / n.

    Args:
        x, y: ``(N, ...)`` and ``(M, ...)``, points that are flattened.

    Raises:
        ValueError: for fewer than two points in a set, or points that are not finite.
    """
    x, y = x.flatten(1).double(), y.flatten(1).double()
    if min(len(x), len(y)) < 2:
        raise ValueError(f"sets of {len(x)} and {len(y)} points; expected two or more in each")
    if not (torch.isfinite(x).all() and torch.isfinite(y).all()):
        raise ValueError("points hold NaN or infinite values: the model that made them diverged")
    between = _total(x, y) / (len(x) * len(y))
    within = [_total(z, z) / (len(z) * (len(z) - 1)) for z in (x, y)]
    return 2 * between - sum(within)


def _total(x: Tensor, y: Tensor) -> float:
    # Not by the expansion of the square, which loses the small distances.
    exact = "donot_use_mm_for_euclid_dist"
    parts = torch.split(x, CHUNK)
    return float(sum(torch.cdist(part, y, compute_mode=exact).sum() for part in parts))
