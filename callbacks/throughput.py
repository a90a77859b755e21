"""How fast training goes."""

from __future__ import annotations

import time
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from lightning_modules.base import ImageModule


class Throughput(Callback):
    """Logs images per second over all processes, and teraFLOP per image where the method knows it.

    The clock runs from one batch's end to the next one's, so waiting for data counts; validation,
    and the batch after it, do not.

    Args:
        every_n_steps: length of the window that is averaged, and the interval of logging.
    """

    def __init__(self, every_n_steps: int) -> None:
        self.every_n_steps = every_n_steps
        self.images_per_second = 0.0
        self.total_images, self.total_seconds = 0, 0.0
        self._window_images, self._window_seconds = 0, 0.0
        self._mark: float | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, ImageModule)
        self._mark = None
        flops = pl_module.forward_flops() if trainer.is_global_zero else None
        if flops:
            for logger in trainer.loggers:
                logger.log_hyperparams({"forward_tflop_per_image": flops / 1e12})

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._mark = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.perf_counter()
        if self._mark is not None:
            self._count(now - self._mark, len(batch.images) * trainer.world_size)
        self._mark = now
        assert isinstance(pl_module, ImageModule)
        if pl_module.steps % self.every_n_steps == 0 and self._window_seconds > 0:
            self.images_per_second = self._window_images / self._window_seconds
            self._window_images, self._window_seconds = 0, 0.0
            pl_module.log("throughput/images_per_second", self.images_per_second)

    def _count(self, seconds: float, images: int) -> None:
        self._window_images += images
        self._window_seconds += seconds
        self.total_images += images
        self.total_seconds += seconds

    @property
    def mean_images_per_second(self) -> float:
        """Images per second since training started in this process."""
        return self.total_images / self.total_seconds if self.total_seconds else 0.0
