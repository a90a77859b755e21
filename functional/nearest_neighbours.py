"""Classes by the vote of the nearest training images in a feature space."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK = 1024
"""Queries compared with the bank at once."""


def vote(
    queries: Tensor, bank: Tensor, labels: Tensor, num_classes: int, k: int, temperature: float
) -> Tensor:
    """Give votes ``(M, num_classes)``: of each query's k nearest in ``bank``, exp(cosine / T).

    The weighted k-NN of Wu et al. (2018, section 3.4), as Caron et al. (2021) score DINO with
    k = 20 and T = 0.07. The search is exact.

    Args:
        queries: features ``(M, D)``.
        bank: features ``(N, D)`` of training images.
        labels: int64 ``(N,)`` in 0 ... num_classes - 1.
        num_classes: number of classes.
        k: neighbours that vote.
        temperature: T, above 0; a small one listens to the nearest alone.

    Raises:
        ValueError: for a k the bank has not, or a temperature that is not positive.
    """
    if not 1 <= k <= len(bank):
        raise ValueError(f"k={k} neighbours of {len(bank)} images; expected 1 to {len(bank)}")
    if temperature <= 0:
        raise ValueError(f"temperature={temperature} must be above 0; Wu et al. (2018) have 0.07")
    columns = F.normalize(bank.float(), dim=1).T
    votes = [
        _vote(F.normalize(rows.float(), dim=1) @ columns, labels, num_classes, k, temperature)
        for rows in torch.split(queries, CHUNK)
    ]
    return torch.cat(votes)


def _vote(
    similarity: Tensor, labels: Tensor, num_classes: int, k: int, temperature: float
) -> Tensor:
    cosine, nearest = similarity.topk(k, dim=1)
    # Relative to the nearest, which changes no order: exp(1 / T) overflows at a small T.
    weights = ((cosine - cosine[:, :1]) / temperature).exp()
    votes = torch.zeros(len(cosine), num_classes, device=similarity.device)
    return votes.scatter_add_(1, labels[nearest], weights)
