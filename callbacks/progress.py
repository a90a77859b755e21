"""Where the run stands: a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import time
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from callbacks.run_record import measured
from callbacks.throughput import Throughput
from lightning_modules.base import ImageModule


class Progress(ProgressBar):
    """Shows loss, images per second, FID and the time left of the budget.

    Args:
        seconds: between two plain lines where the output is no terminal.
    """

    def __init__(self, seconds: float = 10.0) -> None:
        super().__init__()
        self.seconds = seconds
        self._enabled = True
        self._bar: tqdm[Any] | None = None
        self._start, self._start_progress = 0.0, 0.0
        # Not 0: clocks start where they like, such as at the start of the machine.
        self._line_at = -math.inf
        self._paused = 0.0
        self._pause_from = 0.0

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    @property
    def shown(self) -> bool:
        """Whether this process shows anything."""
        return self._enabled and self.trainer.is_global_zero

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, ImageModule)
        self._start = time.perf_counter()
        self._start_progress = pl_module.progress
        if self.shown and sys.stderr.isatty():
            self._bar = tqdm(
                total=100, dynamic_ncols=True, bar_format="{l_bar}{bar}| {postfix}", desc="training"
            )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.perf_counter()
        interval = 0.5 if self._bar else self.seconds
        if self.shown and now - self._line_at >= interval:
            self._line_at = now
            assert isinstance(pl_module, ImageModule)
            self._show(self.describe(trainer, pl_module, now), pl_module.progress)

    def describe(self, trainer: Trainer, module: ImageModule, now: float) -> str:
        """Give one line: images seen, loss, speed, FID, time left."""
        metrics = trainer.callback_metrics
        parts = [f"{module.images_seen:,} images"]
        parts += [
            f"{key.split('/')[-1]} {float(metrics[key]):.4f}"
            for key in ("train/loss",)
            if key in metrics
        ]
        parts += [
            f"{c.images_per_second:.0f} images/s"
            for c in trainer.callbacks  # type: ignore[attr-defined]
            if isinstance(c, Throughput) and c.images_per_second
        ]
        parts += [f"FID {v:.2f}" for k, v in module.scores.items() if k.startswith("gen/fid/")]
        done = module.progress - self._start_progress
        if done > 0.005:
            left = (now - self._start - self._paused) * (1 - module.progress) / done
            parts.append(f"{_minutes(left)} left")
        return ", ".join(parts)

    def _show(self, text: str, progress: float) -> None:
        if self._bar is not None:
            self._bar.n = round(100 * progress, 1)
            self._bar.set_postfix_str(text)
        else:
            print(f"[{100 * progress:3.0f}%] {text}", flush=True)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._pause_from = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        took = time.perf_counter() - self._pause_from
        self._paused += took
        assert isinstance(pl_module, ImageModule)
        if not self.shown or trainer.sanity_checking:
            return
        scores = {**measured(trainer, "val/"), **pl_module.scores}
        text = ", ".join(f"{key} {value:.4g}" for key, value in scores.items())
        line = f"validation at {pl_module.images_seen:,} images ({took:.0f} s): {text}"
        self._bar.write(line) if self._bar is not None else print(line, flush=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
