"""The record of a run in its own folder: ``run.json`` and ``metrics.jsonl``."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from callbacks.throughput import Throughput
from lightning_modules.base import ImageModule
from metrics.keys import parse_key
from metrics.protocol import ProtocolRecord


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` as JSON, whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with open(partial, "w") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def merge_json(path: Path, **fields: Any) -> None:
    """Set ``fields`` in the JSON object in ``path``, which may not be there yet."""
    known = json.loads(path.read_text()) if path.exists() else {}
    write_json(path, {**known, **fields})


def record(trainer: Trainer, **fields: Any) -> None:
    """Set ``fields`` in the ``run.json`` of the run, where there is one; rank 0 alone does."""
    path = Path(trainer.default_root_dir) / "run.json"
    if trainer.is_global_zero and path.exists():
        merge_json(path, **fields)


def record_protocol(trainer: Trainer, protocol: ProtocolRecord, keys: Iterable[str]) -> None:
    """Add to the ``run.json`` of the run, where there is one, what the scores ``keys`` stand on.

    ``protocols`` has the record by its id, ``protocol_of`` the id by key: those of validations for
    ``best`` and ``last``, those of the test for ``final``.
    """
    path = Path(trainer.default_root_dir) / "run.json"
    if not trainer.is_global_zero or not path.exists():
        return
    known, stage = json.loads(path.read_text()), "test" if trainer.testing else "validation"
    stages = known.get("protocol_of", {})
    ids = {**stages.get(stage, {}), **dict.fromkeys(keys, protocol.id)}
    protocols = {**known.get("protocols", {}), protocol.id: protocol.as_dict()}
    record(trainer, protocols=protocols, protocol_of={**stages, stage: ids})


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Give the rows of a ``metrics.jsonl``; a last line that a kill cut in half is left out."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


class MetricsFile(Logger):
    """Appends a line of JSON for each set of metrics, with ``images_seen`` as its axis.

    Attributes:
        seconds: wall-clock of the run at this step, whatever it was interrupted by.
    """

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.path = Path(folder) / "metrics.jsonl"
        self.images_seen, self.seconds = 0, 0.0

    @property
    def name(self) -> str:
        return "metrics"

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        plain = {k: float(v) for k, v in metrics.items() if k != "epoch"}
        clocks = {"seconds": round(self.seconds, 2), "time": round(time.time(), 3)}
        row = {"images_seen": self.images_seen, **clocks, **plain}
        with open(self.path, "a") as file:
            file.write(json.dumps(row) + "\n")

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing to do: ``config.yaml`` beside it holds every setting."""

    def rewind(self, images_seen: int) -> None:
        """Drop rows after ``images_seen``: the part of a killed run that its checkpoint lacks."""
        rows = [row for row in read_rows(self.path) if row["images_seen"] <= images_seen]
        partial = self.path.with_suffix(".partial")
        partial.write_text("".join(json.dumps(row) + "\n" for row in rows))
        os.replace(partial, self.path)


class RunRecord(Callback):
    """Keeps ``run.json``: status, how far the run is, its scores, its speed.

    Also tells the loggers the axis of the charts, ``images_seen``.

    """

    def __init__(self) -> None:
        self.path = Path()
        self.seconds = 0.0
        self._started = 0.0
        self.best: dict[str, float] = {}
        self.last: dict[str, float] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.path = Path(trainer.default_root_dir) / "run.json"

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, ImageModule)
        self._started = time.perf_counter() - self.seconds
        self._set_axis(trainer, pl_module)
        for logger in trainer.loggers if trainer.is_global_zero else []:
            if isinstance(logger, MetricsFile):
                logger.rewind(pl_module.images_seen)
        parameters = sum(p.numel() for p in pl_module.parameters())
        flops = pl_module.forward_flops() if trainer.is_global_zero else None
        self.update(
            trainer,
            status="running",
            error=None,
            final={},
            pid=os.getpid(),
            parameters=parameters,
            forward_gflop_per_image=round(flops / 1e9, 4) if flops else None,
            processes=trainer.world_size,
            device=str(pl_module.device),
        )

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, ImageModule)
        # Counted here as the module counts it a moment later: rows of this step carry it.
        self._set_axis(trainer, pl_module, len(batch.images) * trainer.world_size)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or not isinstance(pl_module, ImageModule):
            return
        self.last = {**measured(trainer, "val/"), **pl_module.scores}
        for key, value in self.last.items():
            better = parse_key(key).direction
            if better:
                best = max if better > 0 else min
                self.best[key] = best(value, self.best.get(key, value))
        self.update(trainer, **self._state(trainer, pl_module))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, ImageModule)
        done = pl_module.progress >= 1.0
        status = "trained" if done else "interrupted"
        ranks = _fingerprints(trainer, pl_module)
        self.update(trainer, status=status, ranks=ranks, **self._state(trainer, pl_module))

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, ImageModule)
        self._set_axis(trainer, pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, ImageModule)
        final = {**measured(trainer, "test/"), **pl_module.scores}
        self.update(trainer, status="finished", final=final)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        stopped = isinstance(exception, KeyboardInterrupt)
        reason = f"{type(exception).__name__}: {exception}"
        self.update(trainer, status="interrupted" if stopped else "failed", error=reason)

    def _state(self, trainer: Trainer, module: ImageModule) -> dict[str, Any]:
        self.seconds = time.perf_counter() - self._started
        speeds = [c.mean_images_per_second for c in _of_type(trainer, Throughput)]
        return {
            "images_seen": module.images_seen,
            "steps": module.steps,
            "wall_clock_seconds": round(self.seconds, 2),
            "images_per_second": round(speeds[0], 2) if speeds else None,
            "best": self.best,
            "last": self.last,
        }

    def update(self, trainer: Trainer, **fields: Any) -> None:
        """Merge ``fields`` into ``run.json``; rank 0 alone writes."""
        if not trainer.is_global_zero or not self.path.name:
            return
        merge_json(self.path, **fields)

    def _set_axis(self, trainer: Trainer, module: ImageModule, ahead: int = 0) -> None:
        for logger in trainer.loggers:
            if hasattr(logger, "images_seen"):
                logger.images_seen = module.images_seen + ahead
            if isinstance(logger, MetricsFile):
                logger.seconds = time.perf_counter() - self._started

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "best": dict(self.best), "last": dict(self.last)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds = state_dict["seconds"]
        self.best, self.last = dict(state_dict["best"]), dict(state_dict["last"])


def _fingerprints(trainer: Trainer, module: LightningModule) -> list[tuple[str, str]]:
    """Give, rank by rank, a hash of the weights (equal, or DDP is broken) and of the next noise
    (different, or all ranks learn from the same draws)."""
    digest = hashlib.sha256()
    for parameter in module.parameters():
        digest.update(parameter.detach().float().cpu().numpy().tobytes())
    noise = hashlib.sha256(torch.rand(4).numpy().tobytes())
    mine = (digest.hexdigest()[:16], noise.hexdigest()[:16])
    if trainer.world_size == 1:
        return [mine]
    gathered: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(gathered, mine)
    return gathered


def measured(trainer: Trainer, prefix: str) -> dict[str, float]:
    """Give what the last evaluation logged under ``prefix``."""
    metrics = trainer.callback_metrics
    return {key: float(value) for key, value in metrics.items() if key.startswith(prefix)}


def _of_type(trainer: Trainer, kind: type[Throughput]) -> list[Throughput]:
    return [callback for callback in trainer.callbacks if isinstance(callback, kind)]  # type: ignore[attr-defined]
