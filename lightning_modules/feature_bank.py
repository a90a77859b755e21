"""The features of a whole split, computed once."""

from __future__ import annotations

import torch
import torch.distributed
from torch import Tensor

from datamodules.base import ImageDataModule
from functional.images import to_float
from functional.label_subset import balanced_subset
from lightning_modules.base import ImageModule


@torch.no_grad()
def feature_bank(model: ImageModule, data: ImageDataModule, split: str) -> Tensor:
    """Give float32 features ``(N, D)`` of a split's images as they are stored.

    They lie on the model's device. Processes share the work; each gets all of it.
    """
    rank, world_size = model.global_rank, 1
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        world_size = torch.distributed.get_world_size()
    batches = data.uint8_batches(split, model.chunk_size, rank, world_size)
    rows = [model.features(to_float(b.to(model.device))).float() for b in batches]
    mine = torch.cat(rows) if rows else torch.empty(0, 0, device=model.device)
    if world_size == 1:
        return mine
    shares: list[Tensor] = [mine] * world_size
    torch.distributed.all_gather_object(shares, mine.cpu())
    bank = torch.empty(data.split_size(split), shares[0].shape[1])
    for share, other in enumerate(shares):
        bank[share::world_size] = other
    return bank.to(model.device)


def split_labels(data: ImageDataModule, split: str, num_classes: int) -> Tensor:
    """Give the labels ``(N,)`` of a split.

    Raises:
        ValueError: where images have none, or more classes than ``num_classes``.
    """
    labels: Tensor = getattr(data.splits, split).labels
    if len(labels) and (int(labels.min()) < 0 or int(labels.max()) >= num_classes):
        raise ValueError(
            f"labels of {data.name} run from {int(labels.min())} to {int(labels.max())}; expected "
            f"0 to {num_classes - 1}; use labelled data and num_classes=${{data.num_classes}}"
        )
    return labels


def keep_labelled(data: ImageDataModule, n: int | None, num_classes: int, seed: int) -> None:
    """Train on ``n`` images alone, equally many of each class; None is all of them."""
    labels = split_labels(data, "train", num_classes)
    if n is not None and n != len(labels):
        data.train_on(balanced_subset(labels, n, num_classes, seed))


def score_key(kind: str, labels: int | None) -> str:
    """Give ``probe/linear/top1``, or ``probe/linear/top1@1000`` where only some labels are used."""
    return f"probe/{kind}/top1" + (f"@{labels}" if labels else "")
