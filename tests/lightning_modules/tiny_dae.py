"""Denoising autoencoders on 8 x 8 images, so small that training takes a second."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from datamodules.base import Batch
from functional.chain_sampling import ChainSampling
from functional.corruption import Gaussian
from lightning_modules.dae import DAE
from networks.autoencoder import ConvAutoencoder
from tests.lightning_modules.tiny import SIZE, unet

WALKBACK: dict[str, Any] = {"loss": "bce", "walkback": 2, "conditional": False}


def sampling(sampler: str | None = None, **changes: Any) -> ChainSampling:
    settings = {"steps": 3, "repeats": 2, "step_size": 0.8, "components": 2}
    return ChainSampling(sampler, **{**settings, **changes})  # type: ignore[arg-type]


def conv(**changes: Any) -> ConvAutoencoder:
    return ConvAutoencoder(**{"channels": 1, "image_size": SIZE, "width": 4, "code": 5, **changes})


def dae(**changes: Any) -> DAE:
    """A U-Net that is told its level of noise, unless ``changes`` say otherwise."""
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "network": changes.pop("network", None) or unet(),
        "corruption": Gaussian([0.05, 0.8]),
        "loss": "mse",
        "alpha": 1.0,
        "beta": 1.0,
        "conditional": True,
        "walkback": 0,
        "sampling": sampling(),
        "optimizer": partial(torch.optim.AdamW, lr=3e-3),
        "warmup_steps": 0,
        "decay": "constant",
        "channels": 1,
        "image_size": SIZE,
    }
    module = DAE(**{**settings, **changes})
    for parameter in module.network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return module.eval()


def images(n: int = 4) -> Tensor:
    return torch.rand(n, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1


def batch(n: int = 4) -> Batch:
    return Batch(images(n), torch.zeros(n).long(), torch.arange(n))
