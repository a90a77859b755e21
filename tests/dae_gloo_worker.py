"""One of two processes that train tiny DAEs: ``python -m tests.dae_gloo_worker RANK FOLDER``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor

from callbacks.checkpoints import Checkpoints
from datamodules.base import Batch
from functional.masking import Noise
from functional.operators import Operator
from lightning_modules.dae import DAE
from lightning_modules.sdae import SDAE
from tests.gan_gloo_worker import digest
from tests.gloo import WORLD_SIZE, work
from tests.lightning_modules.tiny import data, trainer
from tests.lightning_modules.tiny_dae import WALKBACK, dae
from tests.lightning_modules.tiny_sdae import sdae

STEPS = 4
# Six steps pre-train the layers; five batches of 8 then hold each of 10 images four times.
LABELS, STACK_STEPS = 10, 11
CASES: dict[str, dict[str, Any]] = {"conditional": {}, "walkback": WALKBACK}


def train(module: DAE, folder: Path) -> dict[str, Any]:
    """Train a case; give digests of its weights and of what it was shown, and its scores."""
    shown: list[str] = []
    corrupt = module.corrupt

    def watch(images: Tensor, noise: Noise) -> tuple[Tensor, Operator]:
        corrupted, operator = corrupt(images, noise)
        if module.network.training:
            shown.append(digest([corrupted - images]))
        return corrupted, operator

    module.corrupt = watch  # type: ignore[method-assign]
    module.train()
    strategy = DDPStrategy(process_group_backend="gloo")
    run = trainer(
        folder, [Checkpoints(None, 60)], steps=STEPS, val_check_interval=STEPS,
        devices=WORLD_SIZE, strategy=strategy,
    )  # fmt: skip
    run.fit(module, datamodule=data())
    scores = {key: float(value) for key, value in run.callback_metrics.items() if "val/" in key}
    return {"weights": digest(module.network.parameters()), "shown": shown, "scores": scores}


def train_stack(module: SDAE, folder: Path) -> dict[str, Any]:
    """Train a stack, the last steps on few labels; give its weights and the images learnt from."""
    learnt: list[int] = []
    lesson = module.lesson

    def watch(batch: Batch) -> Batch:
        given = lesson(batch)
        learnt.extend(given.indices.tolist())
        return given

    module.lesson = watch  # type: ignore[method-assign]
    strategy = DDPStrategy(find_unused_parameters=True, process_group_backend="gloo")
    run = trainer(
        folder, [], steps=STACK_STEPS, val_check_interval=100, devices=WORLD_SIZE,
        strategy=strategy,
    )  # fmt: skip
    run.fit(module, datamodule=data())
    return {"weights": digest(module.network.parameters()), "learnt": learnt}


def see(folder: Path) -> dict[str, Any]:
    """Give what this rank saw of every case."""
    outcome = {name: train(dae(**changes), folder / name) for name, changes in CASES.items()}
    return {**outcome, "stack": train_stack(sdae(labels=LABELS), folder / "stack")}


if __name__ == "__main__":
    torch.set_num_threads(1)
    work(see)
