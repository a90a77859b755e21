"""A mixture of Gaussians with full covariances, fitted by EM in float64 (Dempster et al. 1977)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Noise = Callable[..., Tensor]


@dataclass(frozen=True)
class GaussianMixture:
    """A density of points ``(N, d)``.

    Attributes:
        weights: float64 ``(K,)``, of sum 1.
        means: float64 ``(K, d)``.
        factors: float64 ``(K, d, d)``, lower Cholesky factors of the covariances.
    """

    weights: Tensor
    means: Tensor
    factors: Tensor

    def log_joint(self, points: Tensor) -> Tensor:
        """Give ``log w_k + log N(x | m_k, S_k)``, float64 ``(N, K)``, of points ``(N, d)``."""
        off = points.double()[None] - self.means[:, None]
        white = torch.linalg.solve_triangular(self.factors, off.mT, upper=False)
        log_volume = self.factors.diagonal(dim1=1, dim2=2).log().sum(dim=1)
        constant = points.shape[1] / 2 * math.log(2 * math.pi)
        squared = white.square().sum(dim=1)
        return (self.weights.log() - log_volume - constant)[:, None].sub(squared / 2).T

    def log_density(self, points: Tensor) -> Tensor:
        """Give the log density, float64 ``(N,)``, of points ``(N, d)``, in nats."""
        return self.log_joint(points).logsumexp(dim=1)

    def sample(self, noise: Noise) -> Tensor:
        """Give points ``(N, d)``, float64, of normal noise; point i is of its own noise alone.

        Args:
            noise: gives standard normal ``(N, *shape)``, e.g. ``functional.seeding.ImageNoise``.
        """
        uniform = torch.special.ndtr(noise(1).double())
        edges = self.weights.cumsum(dim=0)[:-1].to(uniform.device)
        which = (uniform >= edges).sum(dim=1)
        normal = noise(self.means.shape[1]).double()
        factors, means = self.factors.to(normal.device), self.means.to(normal.device)
        return means[which] + torch.einsum("nij,nj->ni", factors[which], normal)


def fit_mixture(
    points: Tensor,
    components: int,
    generator: torch.Generator,
    iterations: int = 100,
    tolerance: float = 1e-4,
    ridge: float = 1e-6,
) -> GaussianMixture:
    """Give the mixture that EM finds from means drawn as by k-means++.

    One component is the Gaussian of the points' mean and covariance.

    Args:
        points: ``(N, d)``.
        components: K.
        generator: of the first means, on the CPU.
        iterations: at most.
        tolerance: ends it where the mean log density rises by less, in nats.
        ridge: added to variances, as a share of the points' mean variance, so that no component
            shrinks to a point.

    Raises:
        ValueError: for fewer than two points a component, or points that are not finite.
    """
    if components < 1 or len(points) < 2 * components:
        raise ValueError(
            f"{components} components of {len(points)} points; use at least 1, and 2 points each"
        )
    if not torch.isfinite(points).all():
        raise ValueError("points of a mixture hold NaN or infinite values; look at the encoder")
    x = points.double()
    floor = ridge * float(x.var(dim=0, correction=0).mean().clamp(min=1e-12))
    mixture = _maximise(x, _nearest(x, spread_points(x, components, generator)), floor)
    last = -math.inf
    for _ in range(iterations):
        joint = mixture.log_joint(x)
        density = joint.logsumexp(dim=1)
        likelihood = float(density.mean())
        if likelihood - last < tolerance:
            break
        last = likelihood
        mixture = _maximise(x, (joint - density[:, None]).exp(), floor)
    return mixture


def spread_points(x: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Give ``(count, d)`` of ``x``, each drawn by its squared distance to those before it.

    k-means++ (Arthur & Vassilvitskii 2007).
    """
    start = int(torch.randint(len(x), (1,), generator=generator))
    chosen, distance = [x[start]], (x - x[start]).square().sum(dim=1)
    for _ in range(count - 1):
        shares = distance.cpu() + 1e-300
        place = int(torch.multinomial(shares / shares.sum(), 1, generator=generator))
        chosen.append(x[place])
        distance = torch.minimum(distance, (x - x[place]).square().sum(dim=1))
    return torch.stack(chosen)


def _nearest(x: Tensor, means: Tensor) -> Tensor:
    """Give responsibilities ``(N, K)``: all to the nearest mean."""
    place = torch.cdist(x, means).argmin(dim=1)
    return torch.nn.functional.one_hot(place, len(means)).double()


def _maximise(x: Tensor, responsibility: Tensor, floor: float) -> GaussianMixture:
    """Give the mixture most likely under ``responsibility`` ``(N, K)``."""
    total = responsibility.sum(dim=0).clamp(min=1e-10)
    means = (responsibility.T @ x) / total[:, None]
    ridge = floor * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    factors = []
    for k, mean in enumerate(means):
        off = x - mean
        covariance = (off * responsibility[:, k, None]).T @ off / total[k]
        factors.append(torch.linalg.cholesky(covariance + ridge))
    return GaussianMixture(total / total.sum(), means, torch.stack(factors))
