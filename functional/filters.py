"""First-layer filters: as pictures, and how large and how fine they are."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


def filter_pictures(filters: Tensor) -> Tensor:
    """Give images ``(D, C, H, W)`` in [-1, 1]; mid-grey is a weight of 0.

    Each filter ``(C, H, W)`` is divided by its own largest absolute weight.
    """
    largest = filters.abs().amax(dim=(1, 2, 3), keepdim=True)
    return filters / largest.clamp(min=torch.finfo(filters.dtype).tiny)


class FilterShape(NamedTuple):
    """What filters ``(D, C, H, W)`` look like, each ``(D,)``.

    Attributes:
        extent: pixels over which the weights are spread: ``(sum w^2)^2 / sum w^4``, where w^2 is
            summed over channels. 1 for a single pixel, H W where all weigh the same.
        radius: root mean square distance in pixels from the centre of mass of w^2.
        frequency: mean of the spatial frequency in cycles per pixel, weighted by the power
            spectrum; white noise has about 0.38.
    """

    extent: Tensor
    radius: Tensor
    frequency: Tensor


def filter_shape(filters: Tensor) -> FilterShape:
    """Measure filters ``(D, C, H, W)`` in double precision."""
    filters = filters.double()
    energy = filters.square().sum(dim=1)
    total = energy.sum(dim=(1, 2)).clamp(min=torch.finfo(torch.float64).tiny)
    extent = total.square() / energy.square().sum(dim=(1, 2)).clamp(min=1e-300)
    variance = sum(_variance(energy.sum(dim=axis) / total[:, None]) for axis in (1, 2))
    power = torch.fft.fft2(filters).abs().square().sum(dim=1)
    rows, columns = (torch.fft.fftfreq(side).to(power) for side in filters.shape[2:])
    frequency = torch.hypot(rows[:, None], columns)
    mean = (power * frequency).sum(dim=(1, 2)) / power.sum(dim=(1, 2)).clamp(min=1e-300)
    return FilterShape(extent, torch.as_tensor(variance).sqrt(), mean)


def _variance(shares: Tensor) -> Tensor:
    """Give the variance ``(D,)`` of the place under ``shares`` ``(D, L)`` that sum to 1."""
    place = torch.arange(shares.shape[1], dtype=shares.dtype, device=shares.device)
    mean = (shares * place).sum(dim=1, keepdim=True)
    return (shares * (place - mean).square()).sum(dim=1)
