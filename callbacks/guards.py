"""Watches over training: gradient norms, and a stop at the first loss that is not finite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from lightning_modules.base import ImageModule


class NonFiniteLoss(RuntimeError):
    """The loss or its gradient became NaN or infinite."""


class Guards(Callback):
    """Logs the gradient norm and stops a run that diverged before its next step.

    The norm is read one step late, so that a GPU is never waited for; the check still comes
    before a second step is taken, and checkpoints are written after the check alone.

    Args:
        every_n_steps: how often the norms are logged: of each optimiser that of its last step,
            which may be none of the steps of which a row is written.
    """

    def __init__(self, every_n_steps: int) -> None:
        self.every_n_steps = every_n_steps
        self._norm: Tensor | None = None
        self._latest: dict[str, Tensor] = {}

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        assert isinstance(pl_module, ImageModule)
        groups = optimizer.param_groups
        norm = get_total_norm([p.grad for g in groups for p in g["params"] if p.grad is not None])
        pl_module.gradient_norm = norm
        if not _scaled(trainer):
            self._norm = norm if self._norm is None else torch.maximum(self._norm, norm)
        self._latest[pl_module.optimizer_label(optimizer)] = norm

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if _scaled(trainer) and isinstance(outputs, Mapping):
            # Gradients are the same on all ranks, a loss is not: a rank that stopped alone would
            # leave the others waiting for it. The mean of all is not finite where one is not.
            loss = outputs["loss"].detach().clone()
            self._norm = trainer.strategy.reduce(loss, reduce_op="mean")
        if pl_module.device.type == "cpu":
            self.check(trainer, pl_module)
        assert isinstance(pl_module, ImageModule)
        if pl_module.steps % self.every_n_steps == 0:
            for label, norm in self._latest.items():
                pl_module.log(f"train/gradient_norm{label}", norm)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.check(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.check(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.check(trainer, pl_module)

    def check(self, trainer: Trainer, module: LightningModule) -> None:
        """Raise :class:`NonFiniteLoss` where the last step's gradient was not finite.

        Under a gradient scaler, the loss: on all ranks alike, whichever of them it was.
        """
        norm, self._norm = self._norm, None
        if norm is None or bool(torch.isfinite(norm)):
            return
        assert isinstance(module, ImageModule)
        what = "loss" if _scaled(trainer) else "gradient"
        raise NonFiniteLoss(
            f"the {what} became {norm.item()} at step {module.steps} "
            f"({module.images_seen:,} images); the last good checkpoint is kept. "
            "Lower the learning rate, lengthen the warm-up or clip the gradient"
        )

    def state_dict(self) -> dict[str, Any]:
        return {"latest": {label: float(norm) for label, norm in self._latest.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._latest = {k: torch.tensor(norm) for k, norm in state_dict["latest"].items()}


def _scaled(trainer: Trainer) -> bool:
    """Tell whether a gradient scaler is at work: it expects overflow, and leaves such steps out."""
    return getattr(trainer.precision_plugin, "scaler", None) is not None
