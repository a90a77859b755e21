"""Rows of pictures that show what a masked autoencoder does."""

from __future__ import annotations

import torch
from torch import Tensor

from functional.masking import MaskOperator
from functional.patches import Pair


def comparison(images: Tensor, predicted: Tensor, hidden: Tensor) -> Tensor:
    """Give rows ``(N, 4, C, H, W)``: masked, predicted, predicted where hidden, original.

    As figure 2 of He et al. (2022), with the prediction both raw and pasted.

    Args:
        images, predicted: ``(N, C, H, W)`` in [-1, 1].
        hidden: bool ``(N, 1, H, W)``, the hidden pixels, shown mid-grey.
    """
    operator = MaskOperator("picture", hidden)
    pasted = operator.paste(predicted, images)
    return torch.stack([operator.apply(images), predicted, pasted, images], dim=1)


def attention_rows(images: Tensor, maps: Tensor, patch: Pair) -> Tensor:
    """Give rows ``(N, 1 + heads, C, H, W)``: each image, then its attention maps.

    Args:
        images: ``(N, C, H, W)`` in [-1, 1].
        maps: ``(N, heads, rows, columns)`` of weights; black is 0, white each map's largest.
        patch: (height, width) in pixels.
    """
    shades = 2 * maps / maps.amax(dim=(2, 3), keepdim=True) - 1
    for dim, side in zip((2, 3), patch, strict=True):
        shades = shades.repeat_interleave(side, dim=dim)
    colours = shades[:, :, None].expand(-1, -1, images.shape[1], -1, -1)
    return torch.cat([images[:, None], colours], dim=1)
