"""Probes and fine-tuning of the tiny masked autoencoder, and runs of them that take a second."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer

from datamodules.fake import Fake
from functional.supervised_augment import SupervisedAugment
from lightning_modules.base import ImageModule
from lightning_modules.finetune import Finetune
from lightning_modules.pretrained import Pretrained
from lightning_modules.probe import Probe
from tests.lightning_modules.tiny import data, trainer
from tests.lightning_modules.tiny_mae import mae

AUGMENT: dict[str, Any] = {
    "crop_scale": None, "rand_augment": None, "erasing": 0.0, "mixup": 0.8, "cutmix": 1.0,
    "smoothing": 0.1,
}  # fmt: skip


def probe(model: ImageModule | None = None, **changes: Any) -> Probe:
    settings: dict[str, Any] = {
        "encoder": Pretrained(model or mae(), run="runs/some"),
        "num_classes": 2,
        "optimizer": partial(torch.optim.SGD, momentum=0.9),
        "learning_rates": [0.01, 0.1],
        "base_batch": None,
        "warmup_steps": 0,
        "decay": "cosine",
        "neighbours": 3,
        "temperature": 0.07,
        "random_baseline": True,
        "labels": None,
        "labels_seed": 0,
    }
    torch.manual_seed(0)
    return Probe(**{**settings, **changes})


def finetune(
    model: ImageModule | None = None, run: str | None = "runs/some", **changes: Any
) -> Finetune:
    settings: dict[str, Any] = {
        "encoder": Pretrained(model or mae(), run=run),
        "num_classes": 2,
        "optimizer": partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.05),
        "base_batch": None,
        "layer_decay": 0.5,
        "blocks": None,
        "drop_path": 0.1,
        "pooling": "mean",
        "augment": SupervisedAugment(**AUGMENT),
        "labels": None,
        "labels_seed": 0,
        "warmup_steps": 0,
        "decay": "cosine",
    }
    torch.manual_seed(0)
    return Finetune(**{**settings, **changes}).train()


def fit(module: ImageModule, folder: Path, steps: int = 6, **changes: Any) -> tuple[Trainer, Fake]:
    """Train; give the trainer and the data."""
    images, made = data(**changes), trainer(folder, [], steps=steps)
    made.fit(module, datamodule=images)
    return made, images
