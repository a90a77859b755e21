"""Diffusion processes: q(x_t | x_0), its posterior, what a network predicts, and the loss.

A network may predict eps, x0, v, the velocity of the linear path, or EDM's preconditioned image;
each is an affine function of (x_t, x_0), so any of them works with any noise schedule and every
sampler sees the same thing: a denoiser that gives an estimate of x_0.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from functional.noise_schedule import NoiseSchedule, VarianceExploding

PREDICTIONS = ("eps", "x0", "v", "velocity", "edm")
SIGMA_DATA = 0.5


class Posterior(NamedTuple):
    """q(x_s | x_t, x_0) for s < t: ``mean`` as x_t, ``variance`` float64, shaped as t."""

    mean: Tensor
    variance: Tensor


def levels(schedule: NoiseSchedule, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Give alpha(t), sigma(t) as ``like``'s dtype and device, shaped to broadcast over images."""
    return shaped(schedule.alpha(t), like), shaped(schedule.sigma(t), like)


def shaped(values: Tensor, like: Tensor) -> Tensor:
    """Give ``(N,)`` or scalar ``values`` in ``like``'s dtype, to broadcast over its images."""
    shape = (-1,) + (1,) * (like.ndim - 1) if values.ndim else ()
    return values.to(like.device, like.dtype).reshape(shape)


def q_sample(x0: Tensor, eps: Tensor, t: Tensor, schedule: NoiseSchedule) -> Tensor:
    """Draw from q(x_t | x_0) with the noise ``eps`` (Ho et al. 2020, eq. 4).

    Args:
        x0, eps: ``(N, ...)``.
        t: ``(N,)`` or scalar times of ``schedule``.
    """
    alpha, sigma = levels(schedule, t, x0)
    return alpha * x0 + sigma * eps


def posterior(x_t: Tensor, x0: Tensor, t: Tensor, s: Tensor, schedule: NoiseSchedule) -> Posterior:
    """Give q(x_s | x_t, x_0) for any s < t, scalars or ``(N,)`` (Ho et al. 2020, eq. 6-7)."""
    alpha_t, sigma_t = schedule.alpha(t), schedule.sigma(t)
    alpha_s, sigma_s = schedule.alpha(s), schedule.sigma(s)
    ratio = alpha_t / alpha_s
    beta = sigma_t**2 - ratio**2 * sigma_s**2
    variance = beta * sigma_s**2 / sigma_t**2
    from_xt, from_x0 = ratio * sigma_s**2 / sigma_t**2, alpha_s * beta / sigma_t**2
    mean = shaped(from_xt, x_t) * x_t + shaped(from_x0, x_t) * x0
    return Posterior(mean, variance)


def target(prediction: str, x0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Give what the network is trained to output at levels ``alpha``, ``sigma``.

    eps (Ho 2020); x0; v = alpha eps - sigma x0 (Salimans & Ho 2022); velocity = eps - x0
    (Lipman 2023); edm = (x0 - c_skip y) / c_out with y = x_t / alpha (Karras 2022, eq. 8).
    """
    if prediction == "eps":
        return eps
    if prediction == "x0":
        return x0
    if prediction == "v":
        return alpha * eps - sigma * x0
    if prediction == "velocity":
        return eps - x0
    ratio = sigma / alpha
    c_skip, c_out = _edm_scales(ratio)
    return (x0 - c_skip * (x0 + ratio * eps)) / c_out


def to_x0(prediction: str, output: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Give the estimate of x_0 that the network's ``output`` implies; inverse of :func:`target`."""
    if prediction == "eps":
        return (x_t - sigma * output) / alpha
    if prediction == "x0":
        return output
    if prediction == "v":
        return (alpha * x_t - sigma * output) / (alpha**2 + sigma**2)
    if prediction == "velocity":
        return (x_t - sigma * output) / (alpha + sigma)
    c_skip, c_out = _edm_scales(sigma / alpha)
    return c_skip * (x_t / alpha) + c_out * output


def to_eps(x_t: Tensor, x0: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Give the noise that turns ``x0`` into ``x_t``."""
    return (x_t - alpha * x0) / sigma


def x0_gain(prediction: str, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Give |d x_0 / d output| of :func:`to_x0`: an error of the output, times it, is one of x_0."""
    if prediction == "eps":
        return sigma / alpha
    if prediction == "x0":
        return torch.ones_like(alpha)
    if prediction == "v":
        return sigma / (alpha**2 + sigma**2)
    if prediction == "velocity":
        return sigma / (alpha + sigma)
    return _edm_scales(sigma / alpha)[1]


def input_scale(prediction: str, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Give c_in, the factor on x_t at the network's entrance; 1 for all but EDM."""
    if prediction != "edm":
        return torch.ones_like(alpha)
    return 1 / (sigma**2 + (alpha * SIGMA_DATA) ** 2).sqrt()


def _edm_scales(ratio: Tensor) -> tuple[Tensor, Tensor]:
    total = ratio**2 + SIGMA_DATA**2
    return SIGMA_DATA**2 / total, ratio * SIGMA_DATA / total.sqrt()


def simple_loss(output: Tensor, wanted: Tensor) -> Tensor:
    """Give L_simple per image, ``(N,)`` float32: the mean squared error (Ho et al. 2020, eq. 14).

    In EDM's scaling the same expression is its loss with weight 1 / c_out^2.
    """
    return (output.float() - wanted.float()).square().flatten(1).mean(dim=1)


def without_overshoot(output: Tensor, wanted: Tensor, x0: Tensor, estimate: Tensor) -> Tensor:
    """Give ``wanted``, but ``output`` itself where ``estimate`` of x_0 is right once clipped.

    Sampling that clips the estimate to [-1, 1] projects it on a convex set that holds every image,
    so its error never grows and E[x_0 | x_t] is still what minimises it. Where a pixel is black or
    white to the full, overshooting is then no error, and a network need not hit the end of the
    range to the grey level. Elsewhere the gradient pulls back into the range.

    Args:
        output, wanted: of the network ``(N, ...)``; no gradient reaches ``output``.
        x0, estimate: the images, and what ``output`` implies for them.
    """
    free = ((x0 >= 1) & (estimate > 1)) | ((x0 <= -1) & (estimate < -1))
    return torch.where(free, output.detach().to(wanted.dtype), wanted)


def check_prediction(prediction: str) -> None:
    """Refuse a prediction that is not one of ``PREDICTIONS``."""
    if prediction not in PREDICTIONS:
        raise ValueError(f"unknown prediction {prediction!r}; known: {', '.join(PREDICTIONS)}")


def check_pair(prediction: str, schedule: NoiseSchedule) -> None:
    """Refuse an unknown prediction, or one that cannot be had on ``schedule``."""
    check_prediction(prediction)
    if (prediction == "edm") != isinstance(schedule, VarianceExploding):
        raise ValueError(
            f"prediction {prediction!r} does not go with {type(schedule).__name__}: "
            "EDM's preconditioning and the VarianceExploding schedule belong together"
        )
    end = torch.tensor(schedule.t_max, dtype=torch.float64)
    if prediction == "eps" and schedule.alpha(end) == 0:
        raise ValueError(
            f"eps says nothing about the image where alpha is 0 (t = {schedule.t_max:g} of "
            f"{type(schedule).__name__}); choose prediction v, velocity or x0"
        )
