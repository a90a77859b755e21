"""SNGAN's residual generator and discriminator (Miyato et al. 2018, tables 4 to 6)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from networks.blocks import (
    BatchNorm,
    FeatureDiscriminator,
    ProjectionHead,
    check_choice,
    check_labels,
    check_latent,
    halvings,
)


def convolution(c_in: int, c_out: int, kernel: int, gain: float = 1.0) -> nn.Conv2d:
    """Give a convolution that keeps the size, its weight Xavier-uniform times ``gain``."""
    layer = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2)
    nn.init.xavier_uniform_(layer.weight, gain)
    return layer


class UpBlock(nn.Module):
    """Norm, ReLU, doubling, convolution, norm, ReLU, convolution; plus the input, doubled."""

    def __init__(self, c_in: int, c_out: int, num_classes: int, upsample: str) -> None:
        super().__init__()
        self.norm1 = BatchNorm(c_in, num_classes)
        self.conv1 = convolution(c_in, c_out, 3, math.sqrt(2))
        self.norm2 = BatchNorm(c_out, num_classes)
        self.conv2 = convolution(c_out, c_out, 3, math.sqrt(2))
        self.skip = convolution(c_in, c_out, 1)
        self.upsample = upsample

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:
        h = self.conv1(self._double(F.relu(self.norm1(x, labels))))
        h = self.conv2(F.relu(self.norm2(h, labels)))
        # A 1 x 1 convolution commutes with interpolation and costs four times less before it.
        return cast(Tensor, h + self._double(self.skip(x)))

    def _double(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode=self.upsample)


class DownBlock(nn.Module):
    """ReLU, convolution, ReLU, convolution, halving; plus the input, halved.

    The ``first`` block sees pixels: it starts without a ReLU. The skip has a 1 x 1 convolution
    where the shape changes.
    """

    def __init__(self, c_in: int, c_out: int, halve: bool, first: bool = False) -> None:
        super().__init__()
        self.first, self.halve = first, halve
        hidden = c_out if first else c_in
        self.conv1 = convolution(c_in, hidden, 3, math.sqrt(2))
        self.conv2 = convolution(hidden, c_out, 3, math.sqrt(2))
        self.skip: nn.Module = nn.Identity()
        if halve or c_in != c_out:
            self.skip = convolution(c_in, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv2(F.relu(self.conv1(x if self.first else F.relu(x))))
        if self.halve:
            # The mean commutes with the skip's 1 x 1 convolution, which then costs four times less.
            h, x = F.avg_pool2d(h, 2), F.avg_pool2d(x, 2)
        return cast(Tensor, h + self.skip(x))


class Generator(nn.Module):
    """SNGAN's generator: latents ``(N, z_dim)`` to images.

    At the paper's settings for CIFAR-10 (z_dim 128, width 256) it has 4,276,739 parameters.

    Args:
        z_dim: length of a latent.
        channels, image_size: of the images; the size is 4 to 7 times a power of two.
        width: channels of every map.
        num_classes: 0 is unconditional; else batch norm is conditional.
        multipliers: of ``width``, for the smallest map and after each doubling; empty for all 1.
            The paper's network for 64 pixels: width 64, multipliers 16, 8, 4, 2, 1.
        upsample: ``nearest`` as published, or ``bilinear``.
    """

    def __init__(
        self,
        z_dim: int,
        channels: int,
        image_size: int,
        width: int,
        num_classes: int = 0,
        multipliers: Sequence[int] = (),
        upsample: str = "nearest",
    ) -> None:
        super().__init__()
        check_choice("upsample", upsample, ("nearest", "bilinear"))
        self.z_dim, self.num_classes = z_dim, num_classes
        self.base, doublings = halvings(image_size)
        if multipliers and len(multipliers) != doublings + 1:
            raise ValueError(
                f"{len(multipliers)} multipliers for {image_size} pixels; give {doublings + 1} "
                f"(for {self.base} pixels and after each of {doublings} doublings) or none"
            )
        widths = [width * m for m in multipliers or [1] * (doublings + 1)]
        self.project = nn.Linear(z_dim, self.base**2 * widths[0])
        nn.init.xavier_uniform_(self.project.weight)
        self.blocks = nn.ModuleList(
            UpBlock(c_in, c_out, num_classes, upsample) for c_in, c_out in pairwise(widths)
        )
        self.norm_out = BatchNorm(widths[-1])
        self.head = convolution(widths[-1], channels, 3)
        self.to(memory_format=torch.channels_last)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Give float32 images ``(N, channels, image_size, image_size)`` in [-1, 1].

        Raises:
            ValueError: where ``z`` or ``labels`` do not fit the network.
        """
        check_latent(z, self.z_dim)
        check_labels(labels, self.num_classes, len(z))
        h = self.project(z).unflatten(1, (self.base, self.base, -1)).permute(0, 3, 1, 2)
        for block in self.blocks:
            h = block(h, labels)
        return torch.tanh(self.head(F.relu(self.norm_out(h))).float())


class Discriminator(FeatureDiscriminator):
    """SNGAN's discriminator: images to logits, by pooling and, with classes, projection.

    At the paper's settings for CIFAR-10 (width 128, four blocks, two of which halve) it has
    1,053,825 parameters.

    Args:
        channels, image_size: of the images; the size divides by ``2 ** halved_blocks``.
        width: channels of every map.
        num_classes: 0 is unconditional; else a projection discriminator (Miyato & Koyama 2018).
        spectral_norm: whether all weights are spectrally normalised, as in the paper.
        multipliers: of ``width``, one for each block.
        halved_blocks: how many of them, the first ones, halve the maps.
        pooling: of the last maps over positions: ``sum`` as in the paper, or ``mean`` (WGAN-GP).
    """

    def __init__(
        self,
        channels: int,
        image_size: int,
        width: int,
        num_classes: int = 0,
        spectral_norm: bool = True,
        multipliers: Sequence[int] = (1, 1, 1, 1),
        halved_blocks: int = 2,
        pooling: str = "sum",
    ) -> None:
        super().__init__(channels, image_size, num_classes)
        check_choice("pooling", pooling, ("sum", "mean"))
        self.pooling = pooling
        if not 1 <= halved_blocks <= len(multipliers) or image_size % 2**halved_blocks:
            raise ValueError(
                f"halved_blocks is {halved_blocks}, for {image_size} pixels and "
                f"{len(multipliers)} blocks; give 1 to {len(multipliers)}, so that the size divides"
            )
        widths = [channels, *(width * m for m in multipliers)]
        self.blocks = nn.Sequential(
            *(
                DownBlock(widths[i], widths[i + 1], i < halved_blocks, i == 0)
                for i in range(len(multipliers))
            )
        )
        self.head = ProjectionHead(widths[-1], widths[-1], num_classes)
        nn.init.xavier_uniform_(self.head.linear.weight)
        self.finish(spectral_norm)

    def features(self, images: Tensor) -> Tensor:
        """Give ``(N, D)`` float32: the last maps, after their ReLU, pooled over positions."""
        h = self.blocks(self.prepared(images))
        pool = torch.sum if self.pooling == "sum" else torch.mean
        return pool(F.relu(h), dim=(2, 3), dtype=torch.float32)
