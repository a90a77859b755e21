"""How long to train: images, steps or minutes, whichever comes first."""

from __future__ import annotations

import time
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from callbacks.checkpoints import Checkpoints
from lightning_modules.base import ImageModule


class Budget(Callback):
    """Stops the run when its budget is used up, and tells the method which share of it is.

    Minutes count training alone: the clock stands while anything is evaluated, shown or saved. A
    schedule that follows a budget in minutes follows the clock, so two such runs agree only as far
    as their machines do; with images or steps a run is a function of its seed.

    Args:
        images, steps, minutes: any of them, the others None. Steps are training batches.
    """

    def __init__(self, images: int | None, steps: int | None, minutes: float | None) -> None:
        limits = {"images": images, "steps": steps, "minutes": minutes}
        if all(limit is None for limit in limits.values()):
            raise ValueError("no budget given; set budget.images, budget.steps or budget.minutes")
        for name, limit in limits.items():
            if limit is not None and limit <= 0:
                raise ValueError(f"budget.{name}={limit} must be positive")
        self.images, self.steps, self.minutes = images, steps, minutes
        self.seconds = 0.0
        self._mark: float | None = None
        self._saving = 0.0

    def progress(self, module: ImageModule) -> float:
        """Give the share of the budget that is used, in [0, 1]."""
        shares = [0.0]
        if self.images is not None:
            shares.append(module.images_seen / self.images)
        if self.steps is not None:
            shares.append(module.steps / self.steps)
        if self.minutes is not None:
            shares.append(self.seconds / 60 / self.minutes)
        return min(1.0, max(shares))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start_clock(trainer)
        self._update(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._mark = None

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        # Not sooner: other callbacks draw pictures and save when a validation has ended.
        if self._mark is None:
            self._start_clock(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert self._mark is not None
        mark, saving = self._mark, self._saving
        self._start_clock(trainer)
        self.seconds += (self._mark - mark) - (self._saving - saving)
        self._update(trainer, pl_module)

    def _start_clock(self, trainer: Trainer) -> None:
        self._mark = time.perf_counter()
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        self._saving = sum(c.seconds for c in callbacks if isinstance(c, Checkpoints))

    def _update(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, ImageModule)
        if self.minutes is not None and trainer.world_size > 1:
            # Every rank must stop at the same step: rank 0's clock counts.
            self.seconds = trainer.strategy.broadcast(self.seconds)
        module.progress = self.progress(module)
        if module.progress >= 1.0:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, float]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self.seconds = state_dict["seconds"]
