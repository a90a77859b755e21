"""Class labels of conditional models: checked, drawn, left out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def labels_of(seeds: Sequence[int], labels: Tensor | None, num_classes: int) -> Tensor | None:
    """Give the labels ``(N,)`` of images to draw; where none are asked for, each seed's own.

    None where the model has no classes.

    Raises:
        ValueError: for labels of a model without classes, or outside its classes.
    """
    if labels is None:
        return torch.tensor([seed % num_classes for seed in seeds]) if num_classes else None
    if not num_classes:
        raise ValueError("this model was trained without labels; sample without labels")
    if not ((labels >= 0) & (labels < num_classes)).all():
        raise ValueError(
            f"labels lie in {int(labels.min())} to {int(labels.max())}; this model knows "
            f"0 to {num_classes - 1}"
        )
    return labels


def drop_labels(labels: Tensor, probability: float, null: int) -> Tensor:
    """Give ``labels`` with each replaced by ``null`` at ``probability`` (Ho & Salimans 2022)."""
    dropped = torch.rand(labels.shape, device=labels.device) < probability
    return torch.where(dropped, null, labels)
