"""The directions in which points vary most (principal component analysis)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class PrincipalAxes(NamedTuple):
    """Orthonormal ``axes`` ``(D, K)`` through ``mean`` ``(D,)``, the one of most variance first."""

    mean: Tensor
    axes: Tensor

    def project(self, points: Tensor) -> Tensor:
        """Give the coordinates ``(N, K)`` of points ``(N, D)``."""
        return (points - self.mean) @ self.axes

    def restore(self, coordinates: Tensor) -> Tensor:
        """Give the points ``(N, D)`` on the axes that have these ``coordinates`` ``(N, K)``."""
        return coordinates @ self.axes.T + self.mean


def principal_axes(points: Tensor, count: int) -> PrincipalAxes:
    """Give the first ``count`` axes of points ``(N, D)``, in float64 from their eigenvectors.

    Of the covariance, or, for fewer points than numbers in each, of the points' inner products.
    The largest number of an axis is positive, which fixes its sign.

    Raises:
        ValueError: for more axes than N points, or D numbers, determine.
    """
    n, d = points.shape
    if not 1 <= count <= min(n - 1, d):
        raise ValueError(
            f"{count} principal axes of {n} points of {d} numbers; expected 1 to {min(n - 1, d)}"
        )
    mean = points.double().mean(dim=0)
    off = points.double() - mean
    if d <= n:
        axes = torch.linalg.eigh(off.T @ off).eigenvectors.flip(1)[:, :count]
    else:
        axes = off.T @ torch.linalg.eigh(off @ off.T).eigenvectors.flip(1)[:, :count]
        axes = axes / axes.norm(dim=0).clamp_min(1e-300)
    largest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))
    return PrincipalAxes(mean, axes * largest.sign())
