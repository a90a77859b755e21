"""One of two processes that train tiny diffusion models under every objective.

``python -m tests.ddpm_gloo_worker RANK FOLDER``
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor

from callbacks.checkpoints import Checkpoints
from lightning_modules.ddpm import DDPM
from tests.gan_gloo_worker import digest
from tests.gloo import WORLD_SIZE, work
from tests.lightning_modules.tiny import data, trainer
from tests.lightning_modules.tiny_objectives import OBJECTIVES, objective

STEPS = 4


def train(module: DDPM, folder: Path) -> dict[str, Any]:
    """Train; give digests of what is learnt and of the noise drawn, and the loss in the end."""
    drawn: list[str] = []
    loss = module.model.loss

    def watch(x0: Tensor, eps: Tensor, t: Tensor, *rest: Any) -> Tensor:
        # A validation is given no share of images to be told an estimate.
        if len(rest) == 2:
            drawn.extend([digest([eps]), digest([t])])
        return loss(x0, eps, t, *rest)

    module.model.loss = watch  # type: ignore[method-assign]
    run = trainer(
        folder, [Checkpoints(None, 60)], steps=STEPS, val_check_interval=STEPS, devices=WORLD_SIZE,
        strategy=DDPStrategy(process_group_backend="gloo"),
    )  # fmt: skip
    run.fit(module, datamodule=data())
    return {
        "learnt": {name: digest([tensor]) for name, tensor in module.state_dict().items()},
        "drawn": drawn,
        "loss": float(run.callback_metrics["val/loss"]),
        "entered": int(getattr(module.times, "counts", torch.zeros(1)).sum()),
    }


def see(folder: Path) -> dict[str, Any]:
    """Give what this rank saw of every objective."""
    return {name: train(objective(name), folder / name) for name in OBJECTIVES}


if __name__ == "__main__":
    work(see)
