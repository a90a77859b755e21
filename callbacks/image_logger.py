"""What the model makes, looked at while it trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from callbacks.pictures import grid, log_picture, save_picture
from lightning_modules.base import ImageModule


class ImageLogger(Callback):
    """Saves the method's previews after every k-th validation, from the same seeds each time.

    Each becomes ``samples/<name>_<images seen>.png`` of the run folder and goes to the loggers.
    Data that are not images are left alone. Rank 0 alone makes them; the others meet it again at
    their next collective. The batch shown is the first of the validation split, or of the training
    where there is no such split.

    Args:
        every_n_validations: k; the last validation always counts.
    """

    def __init__(self, every_n_validations: int) -> None:
        self.every_n_validations = every_n_validations
        self.validations = 0
        self.latest: dict[str, str] = {}
        self._batch: Any = None

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._batch is None:
            self._batch = batch

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if batch_idx == 0:
            self._batch = batch

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the previews; by now the captions have the scores of this validation."""
        if trainer.sanity_checking:
            return
        self.validations += 1
        if self.validations % self.every_n_validations and not trainer.should_stop:
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not trainer.is_global_zero or data.content != "images":
            return
        assert isinstance(pl_module, ImageModule)
        with torch.no_grad():
            previews = pl_module.previews(self._batch)
        for name, images in previews.items():
            self._save(trainer, pl_module, name, grid(images))

    def _save(self, trainer: Trainer, module: ImageModule, name: str, picture: Any) -> None:
        seen = module.images_seen
        path = save_picture(
            picture, Path(trainer.default_root_dir) / "samples" / f"{name}_{seen:09d}.png"
        )
        self.latest[name] = path.name
        scores = ", ".join(f"{key} {value:.3g}" for key, value in module.scores.items())
        caption = f"{seen:,} images seen" + (f"; {scores}" if scores else "")
        log_picture(trainer, f"pictures/{name}", picture, caption, seen)

    def state_dict(self) -> dict[str, Any]:
        return {"validations": self.validations, "latest": dict(self.latest)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.validations, self.latest = state_dict["validations"], dict(state_dict["latest"])
