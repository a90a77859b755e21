"""The Fréchet distance of two Gaussians in float64 (Dowson and Landau 1982; Heusel et al. 2017).

For covariances written as ``A = F Fᵀ`` and ``B = G Gᵀ`` the trace term is a sum of singular
values: ``tr (A B)^(1/2) = tr (Fᵀ B F)^(1/2) = ‖Fᵀ G‖_*``. The factor ``F`` comes from a symmetric
eigendecomposition of the covariance or, exactly and without it, from centred features when there
are fewer of them than dimensions. Singular values are accurate to machine precision of the largest
one, square roots of the eigenvalues of ``A B`` only to its root, which shows when ``n <= d``.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor

ROUND_OFF = torch.finfo(torch.float64).eps
CHUNK = 8192
"""Rows which are turned to float64 at a time, so that memory stays near that of the features."""


class Moments(NamedTuple):
    """Mean and covariance of features.

    mean: float64 ``(d,)``.
    cov: float64 ``(d, d)``, unbiased (divided by ``n - 1``).
    """

    mean: Tensor
    cov: Tensor


class GaussianFactor(NamedTuple):
    """A Gaussian whose covariance is kept as ``factor @ factor.T``.

    mean: float64 ``(d,)``.
    factor: float64 ``(d, r)``.
    """

    mean: Tensor
    factor: Tensor


def moments(features: Tensor) -> Moments:
    """Give the float64 mean and unbiased covariance of features ``(n, d)``, ``n >= 2``.

    Raises:
        ValueError: for another shape, fewer than two rows, or values that are not finite.
    """
    _check_features(features)
    mean = features.mean(dim=0, dtype=torch.float64)
    cov = torch.zeros(len(mean), len(mean), dtype=torch.float64, device=features.device)
    for start in range(0, len(features), CHUNK):
        centred = features[start : start + CHUNK].double() - mean
        cov.addmm_(centred.T, centred)
    return Moments(mean, cov.div_(len(features) - 1))


def factor_of_covariance(mean: Tensor, cov: Tensor) -> GaussianFactor:
    """Give the Gaussian with ``cov = factor @ factor.T`` by symmetric eigendecomposition.

    Eigenvalues within round-off of zero are dropped. A clearly negative one is clamped to zero
    with a warning: rounding upstream (float32 sums, say) has spoilt the covariance.

    Raises:
        ValueError: where shapes disagree, values are not finite, ``cov`` is not symmetric, or an
            eigenvalue is below -1e-3 of the largest, so that ``cov`` is no covariance.
    """
    mean, cov = mean.detach().cpu().double(), cov.detach().cpu().double()
    _check_gaussian(mean, cov)
    values, vectors = torch.linalg.eigh((cov + cov.T) / 2)
    largest = float(values.abs().max())
    lowest = float(values.min())
    if lowest < -1e-3 * largest:
        raise ValueError(
            f"the covariance has the eigenvalue {lowest:.3g} beside the largest {largest:.3g}; "
            "a covariance has none below zero: compute it with functional.frechet.moments"
        )
    tolerance = 10 * len(mean) * ROUND_OFF * largest
    if lowest < -tolerance:
        warnings.warn(
            f"negative eigenvalue {lowest:.3g} of a covariance clamped to 0", stacklevel=2
        )
    kept = values > tolerance
    return GaussianFactor(mean, vectors[:, kept] * values[kept].sqrt())


def factor_of_features(features: Tensor) -> GaussianFactor:
    """Give the Gaussian of features ``(n, d)``: exact centred rows if ``n < d``, else by moments.

    Raises:
        ValueError: as ``moments``.
    """
    _check_features(features)
    n, d = features.shape
    if n >= d:
        return factor_of_covariance(*moments(features))
    rows = features.detach().cpu().double()
    mean = rows.mean(dim=0)
    return GaussianFactor(mean, (rows - mean).T / (n - 1) ** 0.5)


def frechet_distance_of_factors(a: GaussianFactor, b: GaussianFactor) -> Tensor:
    """Give the squared Fréchet distance of two factored Gaussians, a float64 scalar >= 0.

    Raises:
        ValueError: where the dimensions differ.
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(
            f"features of {len(a.mean)} and {len(b.mean)} dimensions cannot be compared: "
            "use one extractor for both"
        )
    spread = a.factor.square().sum() + b.factor.square().sum()
    shared = torch.linalg.svdvals(a.factor.T @ b.factor).sum()
    distance: Tensor = (a.mean - b.mean).square().sum() + spread - 2 * shared
    if distance < -1e-9 * spread:
        warnings.warn(f"Fréchet distance {float(distance):.3g} clamped to 0", stacklevel=2)
    return distance.clamp(min=0)


def frechet_distance(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> Tensor:
    """Give ``|m_a - m_b|² + tr(A + B - 2 (A B)^(1/2))``, a float64 scalar >= 0 on the CPU.

    Heusel et al. 2017, equation 6. Arguments are ``(d,)`` and ``(d, d)`` of any float type.

    Raises:
        ValueError: as ``factor_of_covariance`` and ``frechet_distance_of_factors``.
    """
    a = factor_of_covariance(mean_a, cov_a)
    return frechet_distance_of_factors(a, factor_of_covariance(mean_b, cov_b))


def frechet_distance_of_features(features_a: Tensor, features_b: Tensor) -> Tensor:
    """Give the squared Fréchet distance of two feature sets ``(n, d)`` and ``(m, d)``.

    Raises:
        ValueError: as ``moments``.
    """
    return frechet_distance_of_factors(
        factor_of_features(features_a), factor_of_features(features_b)
    )


def _check_features(features: Tensor) -> None:
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"features must be (n >= 2, d), got shape {tuple(features.shape)}")
    if not torch.isfinite(features).all():
        raise ValueError("features hold NaN or infinite values: look at the images they come from")


def _check_gaussian(mean: Tensor, cov: Tensor) -> None:
    if mean.ndim != 1 or cov.shape != (len(mean), len(mean)):
        raise ValueError(
            f"mean (d,) and covariance (d, d) expected, got {tuple(mean.shape)}, {tuple(cov.shape)}"
        )
    if not (torch.isfinite(mean).all() and torch.isfinite(cov).all()):
        raise ValueError("the moments hold NaN or infinite values")
    if not torch.allclose(cov, cov.T, rtol=1e-4, atol=1e-6 * float(cov.abs().max())):
        raise ValueError("the covariance is not symmetric")
