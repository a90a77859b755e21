"""Pixels of any size and channel count become the shape that was asked for, in uint8."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as tv

_LUMA = (0.299, 0.587, 0.114)


def match_channels(pixels: Tensor, channels: int) -> Tensor:
    """Uint8 images (..., C, H, W) with 1 or 3 channels: grey is repeated, colour becomes luma.

    Luma is ITU-R BT.601, rounded.
    """
    if pixels.shape[-3] == channels:
        return pixels
    if channels == 3:
        return pixels.expand(*pixels.shape[:-3], 3, *pixels.shape[-2:])
    weights = torch.tensor(_LUMA, dtype=torch.float64).view(3, 1, 1)
    return (pixels * weights).sum(-3, keepdim=True).round_().to(torch.uint8)


def fit_square(pixels: Tensor, image_size: int) -> Tensor:
    """Uint8 images (..., C, S, S): the central square, resized with bicubic and antialias.

    Images that have that shape already come back untouched.
    """
    height, width = pixels.shape[-2:]
    if (height, width) == (image_size, image_size):
        return pixels
    side = min(height, width)
    square: Tensor = tv.center_crop(pixels, [side, side])
    if side == image_size:
        return square
    size = [image_size, image_size]
    resized: Tensor = tv.resize(
        square, size, interpolation=InterpolationMode.BICUBIC, antialias=True
    )
    return resized


def prepare_images(pixels: Tensor, channels: int, image_size: int) -> Tensor:
    """A whole split (N, C, H, W) in the shape asked for, in pieces that keep memory small."""
    pieces = (match_channels(piece, channels) for piece in torch.split(pixels, 1024))
    return torch.cat([fit_square(piece, image_size) for piece in pieces])
