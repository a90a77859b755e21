"""What every loader yields, and the one conversion from stored pixels."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """A share of one batch, as one process sees it.

    images: float32 (N, C, H, W) in [-1, 1]
    labels: int64 (N,), -1 where the set has none
    indices: int64 (N,), position of each image in its split
    """

    images: Tensor
    labels: Tensor
    indices: Tensor


def to_unit_range(pixels: Tensor) -> Tensor:
    """Float32 images in [-1, 1] from uint8 pixels: u / 127.5 - 1."""
    return pixels.to(torch.float32).div_(127.5).sub_(1.0)


def mirror(pixels: Tensor, chosen: Tensor) -> Tensor:
    """The images (N, C, H, W), those with `chosen` (bool, (N,)) flipped left to right."""
    turned = pixels.clone()
    turned[chosen] = pixels[chosen].flip(-1)
    return turned
