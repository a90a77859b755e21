"""A denoiser that is told the level of its input's noise, scaled so that every level is alike."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from functional.diffusion import SIGMA_DATA, input_scale, to_x0

SMALLEST_STD = 1 / 255
"""Half a grey level in [-1, 1]: less noise than that is told as this much."""


def told(std: Tensor) -> Tensor:
    """Give what a network is told of standard deviations ``(N,)`` in [-1, 1] images' scale.

    A thousandfold of ln(sigma) / 4 (Karras et al. 2022): sinusoidal embeddings expect that scale.
    """
    return 250 * std.clamp(min=SMALLEST_STD).log()


def preconditioned(
    network: Callable[[Tensor, Tensor], Tensor], noisy: Tensor, std: Tensor
) -> Tensor:
    """Give the estimate of the clean images, float32 ``(N, C, H, W)`` (Karras et al. 2022, eq. 7).

    Args:
        network: of scaled images and what :func:`told` gives.
        noisy: ``(N, C, H, W)``.
        std: of their noise, ``(N,)``.
    """
    sigma = std.clamp(min=SMALLEST_STD).view(-1, 1, 1, 1).to(noisy.dtype)
    alpha = torch.ones_like(sigma)
    output = network(input_scale("edm", alpha, sigma) * noisy, told(std))
    return to_x0("edm", output.float(), noisy.float(), alpha, sigma)


def level_weights(std: Tensor) -> Tensor:
    """Give the weights ``(N,)`` under which the squared errors of all levels count alike.

    The same paper, table 1: 1 / c_out^2, for which the network's own error has weight 1.
    """
    sigma = std.clamp(min=SMALLEST_STD)
    return (sigma**2 + SIGMA_DATA**2) / (sigma * SIGMA_DATA) ** 2
