"""A masked autoencoder so small that a forward pass takes a millisecond, on oblong everything."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from networks.masked_vit import MaskedViT

CHANNELS, SIZE, PATCH = 2, (12, 16), (4, 2)
GRID, PATCHES, VALUES = (3, 8), 24, 16


def network(**changes: Any) -> MaskedViT:
    """The network with every parameter drawn at random, also those that begin as constants."""
    settings: dict[str, Any] = {
        "model": "vit_tiny_patch16_224",
        "channels": CHANNELS,
        "image_size": list(SIZE),
        "patch_size": list(PATCH),
        "embed_dim": 16,
        "depth": 2,
        "heads": 2,
        "decoder_dim": 12,
        "decoder_depth": 2,
        "decoder_heads": 3,
    }
    torch.manual_seed(0)
    made = MaskedViT(**{**settings, **changes})
    scramble(made)
    return made.eval()


def scramble(module: nn.Module) -> None:
    for parameter in module.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, mean=0.1, std=0.3)


def images(n: int = 3) -> Tensor:
    return torch.rand(n, CHANNELS, *SIZE, generator=torch.Generator().manual_seed(1)) * 2 - 1


def places(n: int = 3, keep: int = 6) -> Tensor:
    """Places of visible patches, another order for each image."""
    return torch.rand(n, PATCHES, generator=torch.Generator().manual_seed(2)).argsort(1)[:, :keep]
