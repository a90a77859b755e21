"""Latent vectors of generators: paths between them, and how far out they may lie."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def slerp(a: Tensor, b: Tensor, weight: float) -> Tensor:
    """Give the points at ``weight`` of the great circles from ``a`` to ``b``, ``(N, D)``.

    Shoemake 1985, with the lengths interpolated linearly: a straight line between two Gaussian
    latents passes where none ever lies (White 2016).
    """
    unit_a, unit_b = (v / v.norm(dim=-1, keepdim=True) for v in (a, b))
    angle = (unit_a * unit_b).sum(-1, keepdim=True).clamp(-1, 1).acos()
    straight = angle.sin() < 1e-6
    sine = torch.where(straight, 1, angle.sin())
    start = torch.where(straight, 1 - weight, ((1 - weight) * angle).sin() / sine)
    end = torch.where(straight, weight, (weight * angle).sin() / sine)
    length = torch.lerp(a.norm(dim=-1, keepdim=True), b.norm(dim=-1, keepdim=True), weight)
    points: Tensor = length * (start * unit_a + end * unit_b)
    return points


def paths(ends: Tensor, weights: Sequence[float]) -> Tensor:
    """Give ``(K - 1, P, ...)``, P points on the great circles from each end to the next.

    Args:
        ends: ``(K, ...)``, Gaussian latents of any shape.
        weights: P shares of the way, in [0, 1].
    """
    flat = ends.flatten(1)
    points = torch.stack([slerp(flat[:-1], flat[1:], weight) for weight in weights], dim=1)
    return points.reshape(*points.shape[:2], *ends.shape[1:])


def truncate(z: Tensor, truncation: float | None) -> Tensor:
    """Give ``(N, D)`` latents, those longer than ``truncation * sqrt(D)`` shortened to it.

    Trades variety for quality. Gaussian latents are about sqrt(D) long, so 1 touches half of them.
    """
    if truncation is None:
        return z
    longest = truncation * z.shape[-1] ** 0.5
    shorter: Tensor = z * (longest / z.norm(dim=-1, keepdim=True)).clamp(max=1)
    return shorter
