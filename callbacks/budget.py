"""How long to train: images, steps or minutes, whichever comes first."""

from __future__ import annotations

import time
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from lightning_modules.base import ImageModule


class Budget(Callback):
    """Stops the run when its budget is used up, and tells the method which share of it is.

    Minutes count training alone: validation and what follows it stop the clock. A schedule
    that follows a budget in minutes follows the clock, so two such runs agree only as far as
    their machines do; with images or steps a run is a function of its seed.

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
        self._mark = 0.0

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
        self._mark = time.perf_counter()
        self._update(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._mark = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.perf_counter()
        self.seconds += now - self._mark
        self._mark = now
        self._update(trainer, pl_module)

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
