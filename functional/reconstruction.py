"""What a denoising autoencoder's output says of the clean image: an estimate, a loss, a density.

A network's output ``(N, K * C, H, W)`` is read as the loss was trained: ``mse`` and ``l1`` as the
image itself; ``bce`` as logits of pixels in [0, 1]; ``logistic`` (K = 2) as centre and logarithm of
the scale of each pixel's discretised logistic density (Salimans et al. 2017, PixelCNN++). The last
two are densities P(x | corrupted x) of independent pixels, from which can be drawn.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from functional.masking import Noise, uniform

LOSSES = ("mse", "l1", "bce", "logistic")
DENSITIES = ("bce", "logistic")
"""The losses that are minus the logarithm of a density."""
HALF_LEVEL = 1 / 255
"""Half the distance of two grey levels in [-1, 1]."""
SMALLEST_LOG_SCALE = math.log(HALF_LEVEL / 4)


def outputs_per_channel(loss: str) -> int:
    """Give K, how many maps a network gives for each channel; a ValueError for another loss."""
    if loss not in LOSSES:
        raise ValueError(f"unknown loss {loss!r}; known: {', '.join(LOSSES)}")
    return 2 if loss == "logistic" else 1


def check_output(loss: str, found: tuple[int, ...], image: tuple[int, int, int]) -> None:
    """Refuse an output that the loss cannot read with a ValueError.

    Args:
        loss: a name of ``LOSSES``.
        found: shape of the network's output for one image.
        image: (C, H, W) of the images.
    """
    wanted = (outputs_per_channel(loss) * image[0], *image[1:])
    if found != wanted:
        given, taken = (" x ".join(map(str, shape)) for shape in (found, wanted))
        raise ValueError(
            f"the network gives {given} for an image, but loss={loss} takes {taken}; set "
            f"method.network.out_channels={wanted[0]}"
        )


def entry_losses(loss: str, output: Tensor, target: Tensor) -> Tensor:
    """Give the loss of each entry, float32 ``(N, C, H, W)``; of the densities in nats.

    Args:
        loss: a name of ``LOSSES``.
        output: of the network.
        target: clean images in [-1, 1].

    Raises:
        ValueError: for ``bce`` with targets outside [-1, 1], which is [0, 1] of the loss.
    """
    output, target = output.float(), target.float()
    if loss == "mse":
        return F.mse_loss(output, target, reduction="none")
    if loss == "l1":
        return F.l1_loss(output, target, reduction="none")
    if loss == "bce":
        _check_targets(target)
        shares = (target + 1) / 2
        return F.binary_cross_entropy_with_logits(output, shares, reduction="none")
    return -log_logistic(output, target)


def _check_targets(target: Tensor) -> None:
    low, high = float(target.min()), float(target.max())
    if low < -1 or high > 1:
        raise ValueError(
            f"cross-entropy takes pixels in [0, 1], here images in [-1, 1]; the targets reach from "
            f"{low:.3g} to {high:.3g}. Use method.loss=mse, or data in the range"
        )


def log_logistic(output: Tensor, target: Tensor) -> Tensor:
    """Give the log probability of each pixel's grey level, in nats, ``(N, C, H, W)``.

    A level is an interval of the logistic density; black and white take all that lies beyond.
    Salimans et al. (2017), equation 2, with one component.
    """
    centre, scale = centre_and_scale(output)
    above = (target + HALF_LEVEL - centre) / scale
    below = (target - HALF_LEVEL - centre) / scale
    # log(sigmoid(a) - sigmoid(b)), without the cancellation that its value is lost in.
    inside = F.logsigmoid(above) + F.logsigmoid(-below) + torch.log(-torch.expm1(below - above))
    inside_or_white = torch.where(target > 1 - HALF_LEVEL, F.logsigmoid(-below), inside)
    return torch.where(target < -1 + HALF_LEVEL, F.logsigmoid(above), inside_or_white)


def centre_and_scale(output: Tensor) -> tuple[Tensor, Tensor]:
    """Give the two parts ``(N, C, H, W)`` of the output ``(N, 2 C, H, W)`` of ``logistic``."""
    centre, log_scale = output.float().chunk(2, dim=1)
    return centre, log_scale.clamp(SMALLEST_LOG_SCALE, 3.0).exp()


def estimate(loss: str, output: Tensor) -> Tensor:
    """Give the clean images that the output means, float32 ``(N, C, H, W)``; none is clamped.

    The mean for ``mse`` and ``bce``, the median for ``l1`` and ``logistic``.
    """
    output = output.float()
    if loss == "bce":
        return torch.tanh(output / 2)
    return centre_and_scale(output)[0] if loss == "logistic" else output


def draw(loss: str, output: Tensor, noise: Noise) -> Tensor:
    """Draw images in [-1, 1] from P(x | corrupted x), float32 ``(N, C, H, W)``.

    Args:
        loss: a name of ``DENSITIES``.
        output: of the network.
        noise: gives standard normal ``(N, *shape)``.

    Raises:
        ValueError: for a loss that is no density.
    """
    check_density(loss)
    output = output.float()
    shape = output.shape[1:]
    if loss == "bce":
        return torch.where(uniform(noise, *shape) < torch.sigmoid(output), 1.0, -1.0)
    centre, scale = centre_and_scale(output)
    shares = uniform(noise, *centre.shape[1:]).clamp(1e-6, 1 - 1e-6)
    drawn: Tensor = centre + scale * torch.logit(shares)
    return drawn.clamp(-1, 1)


def check_density(loss: str) -> None:
    """Refuse a loss that says nothing of P(x | corrupted x) with a ValueError."""
    if loss not in DENSITIES:
        raise ValueError(
            f"method.loss={loss} is no density P(x | corrupted x) to draw from; "
            f"use method.loss={' or '.join(DENSITIES)}"
        )


def emphasised(losses: Tensor, chosen: Tensor | None, alpha: float, beta: float) -> Tensor:
    """Give the loss per image, ``(N,)``: the mean of entries, ``alpha`` times the corrupted ones.

    Vincent et al. (2010), "Putting an emphasis on corrupted dimensions"; alpha = 1, beta = 0 is
    their full emphasis.

    Args:
        losses: of entries, ``(N, C, H, W)``.
        chosen: bool ``(N, 1, H, W)``, the corrupted pixels; None where all are.
        alpha, beta: weights of corrupted and of intact entries.
    """
    if chosen is None:
        return alpha * losses.flatten(1).mean(dim=1)
    weights = torch.where(chosen, alpha, beta).to(losses.dtype)
    return (weights * losses).flatten(1).mean(dim=1)


def check_emphasis(alpha: float, beta: float) -> None:
    """Refuse weights of which one is negative or both are 0 with a ValueError."""
    if min(alpha, beta) < 0 or alpha + beta == 0:
        raise ValueError(
            f"{alpha=} and {beta=}, the weights of corrupted and intact pixels; expected "
            "0 or more, and one above 0"
        )
