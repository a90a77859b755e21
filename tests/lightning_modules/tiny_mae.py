"""A masked autoencoder on 8 x 8 images in 16 patches, so small that training takes a second."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from datamodules.base import Batch
from lightning_modules.mae import MAE
from networks.masked_vit import MaskedViT
from tests.lightning_modules.tiny import SIZE

PATCH, PATCHES = 2, 16


def network(**changes: Any) -> MaskedViT:
    settings: dict[str, Any] = {
        "model": "vit_tiny_patch16_224", "channels": 1, "image_size": SIZE, "patch_size": PATCH,
        "embed_dim": 16, "depth": 2, "heads": 2, "decoder_dim": 16, "decoder_depth": 1,
        "decoder_heads": 2,
    }  # fmt: skip
    torch.manual_seed(0)
    return MaskedViT(**{**settings, **changes})


def mae(**changes: Any) -> MAE:
    settings: dict[str, Any] = {
        "network": network(),
        "optimizer": partial(torch.optim.AdamW, lr=1e-3, betas=(0.9, 0.95), weight_decay=0.05),
        "mask": "random",
        "mask_ratio": 0.75,
        "repeats": 1,
        "normalised_targets": False,
        "loss_on_all": False,
        "pooling": "mean",
        "base_batch": 256,
        "warmup_steps": 0,
        "decay": "constant",
    }
    return MAE(**{**settings, **changes}).eval()


def images(n: int = 4) -> Tensor:
    return torch.rand(n, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1


def batch(n: int = 4) -> Batch:
    return Batch(images(n), torch.zeros(n).long(), torch.arange(n))
