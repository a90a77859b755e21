"""Checkpoints that no moment can destroy."""

from __future__ import annotations

import os
import pickle
import time
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint

from lightning_modules.base import ImageModule

# Steps between two looks at rank 0's clock, which the other processes wait for.
CLOCK_STEPS = 20


class CheckpointError(RuntimeError):
    """A checkpoint could not be written or read; the message says what to do."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, flushes to disk, renames: the target is old or new, never half.

    Lightning writes to the temp folder and moves; across file systems a kill or a full disk then
    takes the previous checkpoint too.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
        try:
            with open(partial, "wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, target)
        except (OSError, RuntimeError) as error:
            partial.unlink(missing_ok=True)
            raise CheckpointError(
                f"could not write {target} ({error}); "
                f"{'the earlier one is intact. ' if target.exists() else ''}"
                "Free disk space or check permissions, then resume the run"
            ) from error
        _sync_folder(target.parent)

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        return read_checkpoint(path)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU as tensors and plain values, executing nothing in it.

    Raises:
        FileNotFoundError: where there is none.
        CheckpointError: where it is truncated, no checkpoint, or holds a pickle payload.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    if not zipfile.is_zipfile(path):
        raise CheckpointError(f"{path} is truncated or no checkpoint; use another one of the run")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).split("GLOBAL ")[-1].split(" ")[0]
        raise CheckpointError(
            f"{path} holds more than tensors and plain values ({reason}); refused, "
            "nothing in it was run"
        ) from error
    except (RuntimeError, EOFError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise CheckpointError(f"{path} is no checkpoint of a run: it has no state_dict")
    return checkpoint


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # The file is in place; some file systems cannot flush a folder and say so.
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Checkpoints(Checkpoint):
    """Keeps ``last.ckpt``, to resume from, and ``best.ckpt``, by the score of the validation.

    Both are in ``checkpoints/`` of the run folder.

    ``last.ckpt`` is always taken between two steps, just before a batch, so that a resume repeats
    and leaves out nothing.

    Args:
        monitor: the score's key or the first parts of it, e.g. "gen/fid"; the first match counts,
            lower is better.
        every_minutes: longest time between two saves of ``last.ckpt``; it is saved after each
            validation as well.
        every_n_steps: save every so many steps too, or None.

    Attributes:
        seconds: that saving took in this process.
    """

    def __init__(
        self,
        monitor: str | None,
        every_minutes: float,
        every_n_steps: int | None = None,
    ) -> None:
        self.folder = Path()
        self.monitor, self.every_seconds = monitor, 60 * every_minutes
        self.every_n_steps = every_n_steps
        self.best_score: float | None = None
        self.best_images: int | None = None
        self.seconds = 0.0
        self._due = False
        self._saved_at = 0.0
        self._saved_step = -1

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.folder = Path(trainer.default_root_dir) / "checkpoints"
        for leftover in self.folder.glob(".*.partial") if trainer.is_global_zero else ():
            leftover.unlink(missing_ok=True)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved_at = time.monotonic()
        assert isinstance(pl_module, ImageModule)
        self._saved_step = pl_module.steps

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, ImageModule)
        due = self._due or self._time_is_up(trainer, pl_module)
        if self.every_n_steps:
            due = due or pl_module.steps % self.every_n_steps == 0
        if due and pl_module.steps != self._saved_step:
            self._save_last(trainer, pl_module)

    def _time_is_up(self, trainer: Trainer, module: ImageModule) -> bool:
        up = time.monotonic() - self._saved_at > self.every_seconds
        if trainer.world_size == 1:
            return up
        if module.steps % CLOCK_STEPS:
            return False
        return bool(trainer.strategy.broadcast(up))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or not trainer.fit_loop.epoch_loop.batch_progress.total.ready:
            return
        self._due = True
        assert isinstance(pl_module, ImageModule)
        score = self.monitored(pl_module)
        if score is not None and (self.best_score is None or score < self.best_score):
            self.best_score, self.best_images = score, pl_module.images_seen
            self._save(trainer, "best.ckpt")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, ImageModule)
        self._save_last(trainer, pl_module)

    def monitored(self, module: ImageModule) -> float | None:
        """Give the score of this validation that decides which checkpoint is best, or None."""
        for key, value in module.scores.items():
            if self.monitor and f"{key}/".startswith(f"{self.monitor}/"):
                return value
        return None

    def _save_last(self, trainer: Trainer, module: ImageModule) -> None:
        self._due, self._saved_step = False, module.steps
        self._save(trainer, "last.ckpt")
        self._saved_at = time.monotonic()

    def _save(self, trainer: Trainer, name: str) -> None:
        started = time.perf_counter()
        trainer.save_checkpoint(self.folder / name)
        self.seconds += time.perf_counter() - started

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        # Just before a batch Lightning already counts it as ready. Left so, its total would be one
        # ahead after a resume, and every later validation one step early.
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        for counts in (progress["total"], progress["current"]):
            counts.update(dict.fromkeys(("ready", "started", "processed"), counts["completed"]))

    def state_dict(self) -> dict[str, Any]:
        return {"best_score": self.best_score, "best_images": self.best_images}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_score = state_dict["best_score"]
        self.best_images = state_dict["best_images"]
