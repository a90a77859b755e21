"""The variations of MNIST that Larochelle et al. (2007) made, made anew from MNIST.

The authors' files are gone from their site; what is here follows their description. Their choice of
digits, angles and backgrounds is not known, so scores compare with theirs in expectation only.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.backgrounds import dead_leaves, folder_images, patches
from datamodules.in_memory import Images
from datamodules.torchvision_sets import MNIST


class MNISTVariation(MNIST):
    """Digits drawn from all 70,000 of MNIST without repetition, and changed.

    size, test_size: 12,000 (of which 2,000 for validation) and 50,000 in the paper
    draw_seed: of the choice of digits and of what is done to them
    The other parameters are those of `DownloadedDataModule`.
    """

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
        data_dir: str,
        download: bool,
        size: int,
        test_size: int,
        draw_seed: int,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            channels=channels,
            image_size=image_size,
            num_classes=num_classes,
            seed=seed,
            horizontal_flip=horizontal_flip,
            validation_size=validation_size,
            resident=resident,
            data_dir=data_dir,
            download=download,
        )
        if min(size, test_size) < 1 or draw_seed < 0:
            raise ValueError(
                f"{size=}, {test_size=}, {draw_seed=}: expected 1 image or more and a seed of 0"
            )
        self.size, self.test_size, self.draw_seed = size, test_size, draw_seed

    @abstractmethod
    def vary(self, digits: Tensor, draw: np.random.Generator) -> Tensor:
        """Change digits, uint8 (N, 1, 28, 28)."""

    def read(self) -> tuple[Images, Images]:
        """Both splits."""
        official = super().read()
        pixels, labels = (torch.cat(parts) for parts in zip(*official, strict=True))
        if self.size + self.test_size > len(labels):
            raise ValueError(
                f"size={self.size} and test_size={self.test_size} are more than the "
                f"{len(labels)} digits of MNIST"
            )
        order = torch.from_numpy(
            np.random.default_rng((self.draw_seed, 0)).permutation(len(labels))
        )
        train, test = order[: self.size], order[self.size :][: self.test_size]
        return tuple(  # type: ignore[return-value]
            Images(self.vary(pixels[at], np.random.default_rng((self.draw_seed, part))), labels[at])
            for part, at in enumerate((train, test), start=1)
        )


class MNISTBasic(MNISTVariation):
    """Digits as they are, few of them for training."""

    name = "mnist_basic"

    def vary(self, digits: Tensor, draw: np.random.Generator) -> Tensor:
        """The digits themselves."""
        return digits


class MNISTRot(MNISTVariation):
    """Digits turned by an angle uniform in a full circle."""

    name = "mnist_rot"

    def vary(self, digits: Tensor, draw: np.random.Generator) -> Tensor:
        """Turn each digit about the centre of its image, interpolated bilinearly."""
        angles = torch.from_numpy(draw.uniform(0, 2 * math.pi, len(digits))).float()
        pieces = zip(torch.split(digits, 4096), torch.split(angles, 4096), strict=True)
        return torch.cat([rotate(piece, some) for piece, some in pieces])


class MNISTBgRand(MNISTVariation):
    """Digits on noise: each pixel of the background is uniform."""

    name = "mnist_bg_rand"

    def vary(self, digits: Tensor, draw: np.random.Generator) -> Tensor:
        """Put the noise behind the digits; where both are grey, the lighter one shows."""
        noise = draw.integers(0, 256, tuple(digits.shape), dtype=np.uint8)
        return torch.maximum(digits, torch.from_numpy(noise))


class MNISTBgImg(MNISTVariation):
    """Digits on patches of 20 grey images; patches with little texture are left out.

    background_folder: of the images. None draws them, since those of the paper are not at hand:
        dead leaves (`datamodules.backgrounds`), which have edges at all scales as photographs do
    """

    name = "mnist_bg_img"

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
        data_dir: str,
        download: bool,
        size: int,
        test_size: int,
        draw_seed: int,
        background_folder: str | None,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            channels=channels,
            image_size=image_size,
            num_classes=num_classes,
            seed=seed,
            horizontal_flip=horizontal_flip,
            validation_size=validation_size,
            resident=resident,
            data_dir=data_dir,
            download=download,
            size=size,
            test_size=test_size,
            draw_seed=draw_seed,
        )
        self.background_folder = background_folder

    def vary(self, digits: Tensor, draw: np.random.Generator) -> Tensor:
        """Put a patch behind each digit; where both are grey, the lighter one shows."""
        return torch.maximum(digits, patches(self.backgrounds, len(digits), digits.shape[-1], draw))

    @cached_property
    def backgrounds(self) -> list[np.ndarray]:
        """The images that patches are taken from, uint8 (H, W)."""
        if self.background_folder is None:
            return dead_leaves(20, 256, np.random.default_rng(self.draw_seed))
        return folder_images(self.background_folder)


def rotate(images: Tensor, angles: Tensor) -> Tensor:
    """Uint8 images (N, C, S, S) turned about their centre by angles (N,) in radians.

    Bilinear; black comes in from outside.
    """
    cos, sin, none = angles.cos(), angles.sin(), torch.zeros_like(angles)
    rows = [torch.stack(row, dim=1) for row in ((cos, -sin, none), (sin, cos, none))]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    turned = F.grid_sample(images.float(), grid, align_corners=False)
    return turned.round().to(torch.uint8)
