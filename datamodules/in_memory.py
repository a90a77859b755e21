"""Sets that fit into memory: each split is read once into one uint8 tensor."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from datamodules.base import ImageDataModule
from datamodules.preprocessing import prepare_images
from datamodules.store import Splits, TensorStore, hold_out


class Images(NamedTuple):
    """An official split as it is read: uint8 (N, C, H, W) and labels (N,)."""

    pixels: Tensor
    labels: Tensor


class InMemoryDataModule(ImageDataModule):
    """An image set held as uint8, on the CPU or (`resident="gpu"`) on the accelerator.

    validation_size: images of the official training split that are held out, always the same ones
    resident: "cpu" or "gpu", where the pixels lie and batches are made
    The other parameters are those of `ImageDataModule`.
    """

    source_channels = 1
    source_classes = 10

    def __init__(
        self,
        *,
        batch_size: int,
        channels: int,
        image_size: int,
        num_classes: int,
        seed: int,
        horizontal_flip: bool,
        validation_size: int,
        resident: str,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            channels=channels,
            image_size=image_size,
            num_classes=num_classes,
            seed=seed,
            horizontal_flip=horizontal_flip,
        )
        if resident not in ("cpu", "gpu"):
            raise ValueError(f"resident={resident!r} is unknown; use 'cpu' or 'gpu'")
        self.validation_size, self.resident = validation_size, resident

    @abstractmethod
    def read(self) -> tuple[Images, Images]:
        """The official training and test splits."""

    def open_splits(self) -> Splits:
        """The official splits in the shape asked for; validation is drawn from training."""
        self.check_channels(self.source_channels)
        self.check_classes(self.source_classes)
        reference, test = (self._prepared(split) for split in self.read())
        kept, held_out = hold_out(len(reference), self.validation_size)
        return Splits(reference.subset(kept), reference.subset(held_out), test, reference)

    def _prepared(self, split: Images) -> TensorStore:
        pixels = prepare_images(split.pixels, self.channels, self.image_size)
        return TensorStore(pixels, split.labels.to(torch.int64))
