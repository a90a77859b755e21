"""Restoring by gradients through the denoiser: what would have to change for A x to be y.

The signature is that of ``functional.zero_shot``. Each evaluation costs a backward pass as well.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from functional.diffusion import SIGMA_DATA, posterior
from functional.linear_operators import LinearOperator, spectral
from functional.noise_schedule import NoiseSchedule
from functional.sampler_steps import Denoiser, Noise, Trace, ddim_step


def dps(
    denoiser: Denoiser,
    y: Tensor,
    operator: LinearOperator,
    times: Tensor,
    schedule: NoiseSchedule,
    noise: Noise,
    std: Tensor,
    trace: Trace | None = None,
    scale: float = 0.25,
) -> Tensor:
    """Restore by diffusion posterior sampling (Chung et al. 2023, algorithm 1).

    After each step of the chain x moves down the gradient of ||y - A x_0(x_t)||^2 by ``scale``
    over the norm; how far is set by hand, so this draws from no law that is known, and A x = y
    holds about.
    """

    def downhill(x0: Tensor) -> Tensor:
        """Give the gradient of the norm of y - A x_0 with respect to x_0."""
        apart = y - operator.apply(x0)
        norm: Tensor = apart.flatten(1).norm(dim=1).clamp(min=1e-12).view(-1, 1, 1, 1)
        # A^T = A^T A A+.
        return -spectral(operator, operator.pinv(apart), torch.square) / norm

    x = schedule.prior_std * noise(*y.shape[1:])
    for k, (t, s) in enumerate(pairwise(times)):
        x0, gradient = with_gradient(denoiser, x, t, downhill)
        if trace:
            trace(k, x, x0)
        drawn = posterior(x, x0, t, s, schedule)
        x = drawn.mean - 2 * scale * gradient
        if s > 0:
            x = x + drawn.variance.sqrt().to(x.dtype) * noise(*x.shape[1:])
    return x


def pigdm(
    denoiser: Denoiser,
    y: Tensor,
    operator: LinearOperator,
    times: Tensor,
    schedule: NoiseSchedule,
    noise: Noise,
    std: Tensor,
    trace: Trace | None = None,
    eta: float = 1.0,
    data_std: float = SIGMA_DATA,
    clip: bool = False,
) -> Tensor:
    """Restore by pseudo-inverse guidance (Song et al. 2023), the chain being DDIM with ``eta``.

    x_0 given x_t is taken for a Gaussian of covariance r^2 I about the estimate, so p(y | x_t) is
    one too and its score is added: exact, as steps get small, where the data are Gaussian of
    standard deviation ``data_std`` in every direction. ``clip`` holds the estimate given y in
    [-1, 1], out of which a gradient through a network that is far from the best one takes it.
    """
    x = schedule.prior_std * noise(*y.shape[1:])
    for k, (t, s) in enumerate(pairwise(times)):
        x0 = given_measurement(denoiser, x, t, y, operator, schedule, std, data_std)
        x0 = x0.clamp(-1, 1) if clip else x0
        if trace:
            trace(k, x, x0)
        spread = eta * posterior(x, x0, t, s, schedule).variance.sqrt()
        x = ddim_step(x, x0, t, s, schedule, spread)
        if eta > 0 and s > 0:
            x = x + spread.to(x.dtype) * noise(*x.shape[1:])
    return x


def given_measurement(
    denoiser: Denoiser,
    x: Tensor,
    t: Tensor,
    y: Tensor,
    operator: LinearOperator,
    schedule: NoiseSchedule,
    std: Tensor,
    data_std: float,
) -> Tensor:
    """Give E[x_0 | x_t, y], by Tweedie's formula from the score of p(y | x_t)."""
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    r2 = (data_std * sigma) ** 2 / ((alpha * data_std) ** 2 + sigma**2)

    def share(values: Tensor) -> Tensor:
        square = values.double() ** 2
        return torch.where(square > 0, square / (square * r2 + std.double() ** 2), 0.0)

    def pull(x0: Tensor) -> Tensor:
        apart = operator.pinv(y - operator.apply(x0))
        return spectral(operator, apart, share).to(x.dtype)

    if alpha < 1e-3 * sigma:
        # Next to nothing of x_0 is in x_t: its covariance is the data's, and a gradient rounding.
        x0 = denoiser(x, t)
        return x0 + r2.to(x.dtype) * pull(x0)
    x0, gradient = with_gradient(denoiser, x, t, pull)
    return x0 + (sigma**2 / alpha).to(x.dtype) * gradient


def with_gradient(
    denoiser: Denoiser, x: Tensor, t: Tensor, direction: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Give the estimate at ``x``, and its derivative with respect to ``x`` along ``direction``.

    That is J^T v, with J the Jacobian of the estimate and v what ``direction`` makes of it.
    """
    with torch.inference_mode(False), torch.enable_grad():
        x = x.detach().clone().requires_grad_()
        x0 = denoiser(x, t.clone())
        (gradient,) = torch.autograd.grad(x0, x, direction(x0.detach()).to(x0.dtype))
    return x0.detach(), gradient
