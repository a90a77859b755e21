"""The score of noisy data, exactly, where all of the data are at hand."""

from __future__ import annotations

import torch
from torch import Tensor


def kernel_score(places: Tensor, data: Tensor, std: float, chunk: int = 256) -> Tensor:
    """Give grad log p at ``places``, p being the density of ``data`` with noise of ``std`` added.

    p is the mean of Gaussians about the data, so the score is (E[x_0 | x] - x) / std^2: what a
    denoising autoencoder of unlimited capacity would learn (Vincent 2011; Alain & Bengio 2014).

    Args:
        places: ``(N, ...)``.
        data: ``(M, ...)``, of the same shape but for the number.
        std: above 0.
        chunk: places at once; holds memory to ``chunk * M`` distances.

    Raises:
        ValueError: for a ``std`` of 0 or less.
    """
    if not std > 0:
        raise ValueError(f"{std=}: data without noise have no score; expected more than 0")
    centres = data.flatten(1).double()
    parts = []
    for part in torch.split(places.flatten(1).double(), chunk):
        weights = torch.softmax(-torch.cdist(part, centres).square() / (2 * std**2), dim=1)
        parts.append((weights @ centres - part) / std**2)
    return torch.cat(parts).view_as(places).to(places.dtype)
