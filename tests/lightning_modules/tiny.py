"""A diffusion model, data and a Trainer so small that training takes a second."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback

from callbacks.budget import Budget
from callbacks.checkpoints import AtomicCheckpointIO
from callbacks.run_record import MetricsFile
from datamodules.fake import Fake
from functional.noise_schedule import LinearPath
from functional.sampling import Sampling
from functional.time_sampling import TimeSampler
from lightning_modules.ddpm import DDPM
from networks.unet import UNet

SIZE = 8


def unet(**changes: Any) -> UNet:
    settings: dict[str, Any] = {
        "in_channels": 1,
        "out_channels": 1,
        "image_size": SIZE,
        "channels": 8,
        "multipliers": [1],
        "blocks": 1,
        "attention_resolutions": [],
    }
    return UNet(**{**settings, **changes})


def ddpm(*, scrambled: bool = True, **changes: Any) -> DDPM:
    """A DDPM; ``scrambled`` gives weights to layers that begin as zero."""
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "network": unet(),
        "schedule": LinearPath(),
        "times": TimeSampler("uniform"),
        "prediction": "velocity",
        "sampling": Sampling("heun", 3, "trailing", clip=False),
        "optimizer": partial(torch.optim.AdamW, lr=1e-3),
        "warmup_steps": 0,
        "decay": "constant",
        "channels": 1,
        "image_size": SIZE,
    }
    module = DDPM(**{**settings, **changes})
    if scrambled:
        for parameter in module.network.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    return module.eval()


def data(**changes: Any) -> Fake:
    settings: dict[str, Any] = {
        "batch_size": 8,
        "channels": 1,
        "image_size": SIZE,
        "num_classes": 2,
        "seed": 0,
        "horizontal_flip": False,
        "validation_size": 16,
        "resident": "cpu",
        "size": 56,
        "test_size": 16,
    }
    return Fake(**{**settings, **changes})


def trainer(
    folder: Path, callbacks: list[Callback], *, steps: int | None = 6, **changes: Any
) -> Trainer:
    """A Trainer as ``experiment.build_trainer`` makes it, that validates every 3 steps."""
    folder.mkdir(parents=True, exist_ok=True)
    if steps is not None:
        callbacks = [Budget(images=None, steps=steps, minutes=None), *callbacks]
    settings: dict[str, Any] = {
        "default_root_dir": folder,
        "accelerator": "cpu",
        "devices": 1,
        "logger": [MetricsFile(str(folder))],
        "plugins": [AtomicCheckpointIO()],
        "max_epochs": -1,
        "use_distributed_sampler": False,
        "num_sanity_val_steps": 0,
        "check_val_every_n_epoch": None,
        "val_check_interval": 3,
        "log_every_n_steps": 1,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": any(hasattr(c, "monitored") for c in callbacks),
    }
    return Trainer(callbacks=callbacks, **{**settings, **changes})
