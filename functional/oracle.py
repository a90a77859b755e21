"""Data about which everything is known: the exact answer to what a diffusion model only learns.

A mixture of isotropic Gaussians stays one under noise, so the best denoiser, the score and the
likelihood at every time have closed forms. With them in the network's place a sampler, a schedule
or a likelihood is checked by itself: whatever error is left is its own.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from functional.diffusion import posterior
from functional.noise_schedule import NoiseSchedule
from functional.reverse_variance import LogVariances, step_log_variances


class Mixture:
    """Data from sum_k weight_k N(mean_k, std_k^2 I).

    Levels ``alpha`` and ``sigma`` are numbers, or one per image, of ``(N,)`` or ``(N, 1, ...)``.

    Args:
        weights: ``(K,)``, positive; brought to sum 1.
        means: ``(K, ...)``, of the shape of one image.
        stds: ``(K,)``, positive.

    Raises:
        ValueError: for other shapes, or numbers that are not positive.
    """

    def __init__(self, weights: Tensor, means: Tensor, stds: Tensor) -> None:
        if weights.ndim != 1 or stds.shape != weights.shape or len(means) != len(weights):
            raise ValueError(
                f"weights {tuple(weights.shape)}, means {tuple(means.shape)} and stds "
                f"{tuple(stds.shape)} are not of one number of components"
            )
        if min(float(weights.min()), float(stds.min())) <= 0:
            raise ValueError("weights and stds of a mixture must be positive")
        self.weights = weights.double() / weights.sum()
        self.means, self.stds = means.double(), stds.double()

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image."""
        return tuple(self.means.shape[1:])

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``(n, ...)`` images, float64."""
        kinds = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        noise = torch.randn(n, *self.shape, generator=generator, dtype=torch.float64)
        return self.means[kinds] + self.stds[kinds].view(-1, *(1,) * len(self.shape)) * noise

    def log_density(
        self, x: Tensor, alpha: Tensor | float = 1.0, sigma: Tensor | float = 0.0
    ) -> Tensor:
        """Give log p(x_t) ``(N,)`` of x_t = alpha x_0 + sigma eps; of the data by default."""
        log_joint, _ = self._components(x, alpha, sigma)
        return torch.logsumexp(log_joint, dim=1)

    def score(self, x: Tensor, alpha: Tensor | float, sigma: Tensor | float) -> Tensor:
        """Give the gradient of log p(x_t), as ``x``."""
        return (alpha * self.denoise(x, alpha, sigma) - x) / sigma**2

    def denoise(self, x: Tensor, alpha: Tensor | float, sigma: Tensor | float) -> Tensor:
        """Give E[x_0 | x_t], as ``x``."""
        shares, posterior_means = self._posterior(x, alpha, sigma)
        return (shares * posterior_means).sum(dim=1).to(x.dtype)

    def variance(self, x: Tensor, alpha: Tensor | float, sigma: Tensor | float) -> Tensor:
        """Give Var[x_0 | x_t] of each number, as ``x``: how wrong the best estimate still is."""
        shares, means = self._posterior(x, alpha, sigma)
        noise, kept = _per_image(sigma) ** 2, _per_image(alpha) ** 2 * self.stds**2
        within = self._wide(self.stds**2 * noise / (kept + noise))
        square = (shares * (means.square() + within)).sum(dim=1)
        mean = (shares * means).sum(dim=1)
        return (square - mean.square()).to(x.dtype)

    def cdf(self, x: Tensor, alpha: float = 1.0, sigma: float = 0.0) -> Tensor:
        """Give P(x_t <= x), as ``x``, of data that are one number each."""
        scale = (alpha**2 * self.stds**2 + sigma**2).sqrt()
        z = (x.double().unsqueeze(-1) - alpha * self.means.flatten()) / scale
        below: Tensor = torch.special.ndtr(z)
        return (below * self.weights).sum(-1)

    def quantile(self, p: Tensor, alpha: float = 1.0, sigma: float = 0.0) -> Tensor:
        """Give the inverse of :func:`cdf`, by bisection, float64."""
        reach = 40 * float((alpha**2 * self.stds**2 + sigma**2).sqrt().max())
        low = torch.full_like(p, alpha * float(self.means.min()) - reach, dtype=torch.float64)
        high = torch.full_like(p, alpha * float(self.means.max()) + reach, dtype=torch.float64)
        for _ in range(100):
            middle = (low + high) / 2
            below = self.cdf(middle, alpha, sigma) < p
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return (low + high) / 2

    def flow(self, x: Tensor, alpha: float, sigma: float) -> Tensor:
        """Give where the probability-flow ODE takes ``x`` at a level, of data that are one number.

        In one dimension paths cannot cross, so a point keeps its quantile.
        """
        return self.quantile(self.cdf(x, alpha, sigma))

    def _components(
        self, x: Tensor, alpha: Tensor | float, sigma: Tensor | float
    ) -> tuple[Tensor, Tensor]:
        """Give log weight_k p_k(x_t) ``(N, K)`` and alpha^2 std_k^2 + sigma^2 ``(N or 1, K)``."""
        alpha, sigma = _per_image(alpha), _per_image(sigma)
        variances = alpha**2 * self.stds**2 + sigma**2
        off = x.double().unsqueeze(1) - self._wide(alpha) * self.means
        size, squared = math.prod(self.shape), off.flatten(2).square().sum(dim=2)
        log_joint = -(squared / variances + size * torch.log(2 * math.pi * variances)) / 2
        return log_joint + self.weights.log(), variances

    def _posterior(
        self, x: Tensor, alpha: Tensor | float, sigma: Tensor | float
    ) -> tuple[Tensor, Tensor]:
        """Give P(k | x_t) and E[x_0 | x_t, k], both to broadcast as ``(N, K, ...)``."""
        log_joint, variances = self._components(x, alpha, sigma)
        alpha = _per_image(alpha)
        gain = self._wide(alpha * self.stds**2 / variances)
        off = x.double().unsqueeze(1) - self._wide(alpha) * self.means
        shares = self._wide(torch.softmax(log_joint, dim=1))
        return shares, self.means + gain * off

    def _wide(self, numbers: Tensor) -> Tensor:
        """Give ``(N, K)`` numbers the axes of an image, to broadcast as ``(N, K, ...)``."""
        return numbers.view(*numbers.shape, *(1,) * len(self.shape))


def _per_image(level: Tensor | float) -> Tensor:
    """Give ``(1, 1)`` of a number, ``(N, 1)`` of one per image."""
    return torch.as_tensor(level, dtype=torch.float64).reshape(-1, 1)


class Gaussian:
    """Data of one Gaussian whose pixels may be correlated.

    Args:
        mean: of the shape of one image.
        covariance: ``(D, D)`` of its D numbers, positive definite.
    """

    def __init__(self, mean: Tensor, covariance: Tensor) -> None:
        self.mean, self.covariance = mean.double(), covariance.double()

    def denoise(self, x: Tensor, alpha: Tensor | float, sigma: Tensor | float) -> Tensor:
        """Give E[x_0 | x_t], as ``x``, at levels that are numbers."""
        noisy = alpha**2 * self.covariance + sigma**2 * torch.eye(len(self.covariance)).double()
        off = (x.double() - alpha * self.mean).flatten(1)
        gain = alpha * torch.linalg.solve(noisy, self.covariance)
        x0: Tensor = self.mean + (off @ gain).view(x.shape)
        return x0.to(x.dtype)

    def posterior(self, matrix: Tensor, y: Tensor, std: float) -> tuple[Tensor, Tensor]:
        """Give mean ``(D,)`` and covariance ``(D, D)`` of x given y = matrix x + std n ``(M,)``."""
        matrix, mean = matrix.double(), self.mean.flatten()
        measured = matrix @ self.covariance @ matrix.T + std**2 * torch.eye(len(matrix)).double()
        gain = self.covariance @ matrix.T @ torch.linalg.pinv(measured, hermitian=True)
        left = self.covariance - gain @ matrix @ self.covariance
        return mean + gain @ (y.double() - matrix @ mean), left


class BestDenoiser:
    """The best denoiser of known data, and the best variance, as samplers call them.

    Args:
        data: what is denoised.
        schedule: of the noise.
        times: the sampler's grid, where a learnt variance is asked for.
    """

    def __init__(
        self, data: Mixture | Gaussian, schedule: NoiseSchedule, times: Tensor | None = None
    ) -> None:
        self.data, self.schedule, self.times = data, schedule, times

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """Give E[x_0 | x_t], as ``x``, at the scalar time ``t``."""
        return self.data.denoise(x, self.schedule.alpha(t), self.schedule.sigma(t))

    def with_variance(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Give E[x_0 | x_t], and what says that p(x_s | x_t) has the true variance.

        That is beta_tilde + w^2 Var[x_0 | x_t] with w the weight of x_0 in the mean of
        q(x_s | x_t, x_0) (Bao et al. 2022), and so between the two ends.
        """
        if self.times is None or isinstance(self.data, Gaussian):
            raise ValueError("the variance is of a mixture and depends on the step: give the grid")
        k = int((self.times == t).nonzero()[0])
        s = self.times[k + 1]
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        ends = LogVariances(*(end[k] for end in step_log_variances(self.schedule, self.times)))
        weight = posterior(x, torch.ones_like(x), t, s, self.schedule).mean - (
            posterior(x, torch.zeros_like(x), t, s, self.schedule).mean
        )
        tilde = posterior(x, x, t, s, self.schedule).variance
        true = tilde + weight**2 * self.data.variance(x, alpha, sigma)
        share = (true.log() - ends.small) / (ends.large - ends.small)
        return self(x, t), 2 * share - 1
