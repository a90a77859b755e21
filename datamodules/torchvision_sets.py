"""MNIST (LeCun et al., 1998) and CIFAR-10 (Krizhevsky, 2009), through torchvision's readers."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor

from datamodules.download import DownloadedDataModule
from datamodules.in_memory import Images


class TorchvisionDataModule(DownloadedDataModule):
    """A set that a class of torchvision reads whole. Parameters: `DownloadedDataModule`."""

    @property
    @abstractmethod
    def folder(self) -> Path:
        """Where torchvision expects the files."""

    @abstractmethod
    def pixels(self, dataset: Any) -> Tensor:
        """The uint8 images (N, C, H, W) of one of torchvision's splits."""

    def present(self) -> bool:
        """Whether the folder is there; torchvision looks into it when it reads."""
        return self.folder.is_dir()

    def read(self) -> tuple[Images, Images]:
        """Both splits.

        Raises FileNotFoundError where the folder is missing and ValueError where it is damaged.
        """
        if not self.present():
            raise FileNotFoundError(
                f"{self.name} was not found: there is no folder {self.folder}. Set "
                f"data.download=true with a network at hand{self.failure}, or put the files "
                "there, or set data.data_dir to the folder above it"
            )
        try:
            return self._split(train=True), self._split(train=False)
        except (RuntimeError, ValueError, OSError, EOFError, AssertionError) as error:
            raise ValueError(
                f"{self.folder} does not hold the whole of {self.name} ({error}); delete it and "
                "set data.download=true"
            ) from error

    def _split(self, *, train: bool) -> Images:
        dataset = self.dataset(str(self.root), train=train, download=False)
        return Images(self.pixels(dataset), torch.as_tensor(dataset.targets))


class MNIST(TorchvisionDataModule):
    """Digits: 60,000 training and 10,000 test images, 28 x 28 grey, 10 classes."""

    name = "mnist"
    dataset = torchvision.datasets.MNIST

    @property
    def folder(self) -> Path:
        """`data_dir`/MNIST/raw."""
        return self.root / "MNIST" / "raw"

    def pixels(self, dataset: Any) -> Tensor:
        """The images with their one channel."""
        images: Tensor = dataset.data
        return images.unsqueeze(1)


class CIFAR10(TorchvisionDataModule):
    """Animals and vehicles: 50,000 training and 10,000 test images, 32 x 32 colour, 10 classes."""

    name = "cifar10"
    dataset = torchvision.datasets.CIFAR10
    source_channels = 3

    @property
    def folder(self) -> Path:
        """`data_dir`/cifar-10-batches-py."""
        return self.root / "cifar-10-batches-py"

    def pixels(self, dataset: Any) -> Tensor:
        """The images, channels first."""
        return torch.from_numpy(dataset.data).permute(0, 3, 1, 2)
