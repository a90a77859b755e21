"""A stacked denoising autoencoder so small that training takes a second."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback

from callbacks.checkpoints import Checkpoints
from functional.corruption import Masking
from lightning_modules.sdae import SDAE
from networks.stacked_autoencoder import StackedAutoencoder
from tests.lightning_modules.tiny import SIZE, data, trainer

LAYERS, BATCH = 3, 8


def stack(**changes: Any) -> StackedAutoencoder:
    settings: dict[str, Any] = {
        "channels": 1, "image_size": SIZE, "widths": [12, 10, 9], "activation": "sigmoid",
        "tied": True, "num_classes": 2,
    }  # fmt: skip
    return StackedAutoencoder(**{**settings, **changes})


def sdae(**changes: Any) -> SDAE:
    """Each layer is pre-trained for two batches."""
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "network": stack(), "corruption": Masking(0.25), "loss": "bce", "alpha": 1.0, "beta": 1.0,
        "pretrain_images": 2 * BATCH, "pretrain_lr": 0.01, "decay": "cosine",
        "optimizer": partial(torch.optim.Adam, lr=0.02), "labels": None, "labels_seed": 0,
    }  # fmt: skip
    return SDAE(**{**settings, **changes})


def fit(
    module: SDAE,
    folder: Path,
    steps: int,
    resume: Path | None = None,
    callbacks: Sequence[Callback] = (),
    **changes: Any,
) -> Trainer:
    """Train, and keep ``last.ckpt`` in the folder."""
    made = trainer(folder, [Checkpoints("val/error", 10), *callbacks], steps=steps)
    made.fit(module, datamodule=data(**changes), ckpt_path=resume, weights_only=True)
    return made
