"""Where the pixels of a split are kept: one uint8 tensor, or files that are decoded when needed."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from datamodules.batch import Batch, mirror, to_unit_range
from datamodules.order import Plan


class ImageStore(ABC):
    """The images of one split, all of one shape, with their labels.

    labels: int64 (N,), -1 where the set has none
    in_memory: whether a batch is gathered from memory, so that workers would only cost time
    """

    labels: Tensor
    in_memory = False

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def pixels(self, indices: Tensor) -> Tensor:
        """The uint8 images (n, C, H, W) at `indices` (int64, (n,))."""

    def crops(self, indices: Tensor, seeds: Tensor) -> Tensor:
        """As `pixels`, each image cut at random by its seed (int64, (n,)); files alone can be."""
        raise NotImplementedError(f"{type(self).__name__} holds images that are cut already")

    @abstractmethod
    def update(self, digest: hashlib._Hash) -> None:
        """Feeds what identifies the content into `digest`."""

    @abstractmethod
    def subset(self, positions: Tensor) -> ImageStore:
        """The images at `positions` (int64) as a split of their own."""

    def batch(self, plan: Plan) -> Batch:
        """The batch that `plan` describes."""
        cut = plan.crop
        pixels = self.pixels(plan.indices) if cut is None else self.crops(plan.indices, cut)
        if plan.flip is not None:
            pixels = mirror(pixels, plan.flip.to(pixels.device))
        indices = plan.indices.to(pixels.device)
        return Batch(to_unit_range(pixels), self.labels[plan.indices].to(pixels.device), indices)


class TensorStore(ImageStore):
    """A split as rows of one contiguous uint8 tensor, which several splits may share."""

    in_memory = True

    def __init__(self, images: Tensor, labels: Tensor, rows: Tensor | None = None) -> None:
        self.images = images.contiguous()
        self._rows = rows
        self.labels = labels.to(torch.int64)

    def pixels(self, indices: Tensor) -> Tensor:
        rows = indices if self._rows is None else self._rows[indices]
        return self.images.index_select(0, rows.to(self.images.device))

    def update(self, digest: hashlib._Hash) -> None:
        for rows in torch.split(torch.arange(len(self)), 4096):
            digest.update(self.pixels(rows).cpu().numpy().tobytes())
        digest.update(self.labels.numpy().tobytes())

    def subset(self, positions: Tensor) -> TensorStore:
        rows = positions if self._rows is None else self._rows[positions]
        return TensorStore(self.images, self.labels[positions], rows)

    def on(self, images: Tensor) -> TensorStore:
        """The same split with `images`, a copy of its pixels on some device."""
        return TensorStore(images, self.labels, self._rows)


class Splits(NamedTuple):
    """The parts of a data set; `reference` is what generated images are compared with.

    reference: the official training split whole, in a fixed order
    """

    train: ImageStore
    validation: ImageStore
    test: ImageStore
    reference: ImageStore


def hold_out(size: int, held_out: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Positions (kept, held out), each in rising order, by a draw that no run's seed changes.

    Raises ValueError where there are not that many.
    """
    if not 0 <= held_out <= size:
        raise ValueError(f"validation_size={held_out} must lie between 0 and {size} images")
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
    return order[held_out:].sort().values, order[:held_out].sort().values
