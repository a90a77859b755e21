"""Total-variation denoising (Rudin, Osher and Fatemi 1992): flat regions, sharp edges."""

from __future__ import annotations

import math

import torch
from torch import Tensor

STEP = 1 / 4
"""Of the dual variable; Chambolle's (2004) iteration converges up to 1 / 4 in two dimensions."""


def denoise_total_variation(
    images: Tensor, weight: float, tolerance: float = 2e-4, max_iterations: int = 200
) -> Tensor:
    """Give each channel's u that makes ``|u - image|^2 / 2 + weight * TV(u)`` least.

    Chambolle (2004), "An algorithm for total variation minimization and applications",
    semi-implicit in the dual variable. A channel is done once the energy moves by less than
    ``tolerance`` of what it was at the beginning; it depends on itself alone.

    Args:
        images: ``(N, C, H, W)`` of any range; the weight grows with the range.
        weight: above 0.

    Raises:
        ValueError: for a weight that is not a positive number.
    """
    if not 0 < weight < math.inf:
        raise ValueError(f"{weight=} of total variation; expected a positive number")
    planes = images.flatten(0, 1)
    result, left = planes.clone(), torch.arange(len(planes), device=images.device)
    dual = planes.new_zeros(2, *planes.shape)
    first = previous = torch.full_like(planes[:, 0, 0], math.inf)
    for iteration in range(max_iterations):
        change = divergence(dual)
        slopes = gradient(planes + change)
        length = slopes.square().sum(dim=0).sqrt()
        energy = change.square().mean(dim=(1, 2)) + weight * length.mean(dim=(1, 2))
        first = energy if iteration == 0 else first
        going = (previous - energy).abs() >= tolerance * first
        if iteration == max_iterations - 1 or not going.all():
            result[left] = planes + change
            left, planes, dual = left[going], planes[going], dual[:, going]
            slopes, length = slopes[:, going], length[going]
            first, energy = first[going], energy[going]
        if not len(left):
            break
        previous = energy
        dual = dual.add_(slopes, alpha=STEP).div_(length.mul_(STEP / weight).add_(1))
    return result.view_as(images)


def gradient(planes: Tensor) -> Tensor:
    """Give forward differences ``(2, N, H, W)`` down and to the right; 0 at the last pixel."""
    down = torch.diff(planes, dim=1, append=planes[:, -1:])
    right = torch.diff(planes, dim=2, append=planes[:, :, -1:])
    return torch.stack([down, right])


def divergence(field: Tensor) -> Tensor:
    """Give backward differences ``(N, H, W)`` of a field ``(2, N, H, W)``, summed.

    The last pixel of ``field`` along its own axis must be 0: then it is minus the adjoint of
    :func:`gradient`.
    """
    down = torch.diff(field[0], dim=1, prepend=torch.zeros_like(field[0][:, :1]))
    right = torch.diff(field[1], dim=2, prepend=torch.zeros_like(field[1][:, :, :1]))
    return down + right
