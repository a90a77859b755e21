"""More averages of the weights than the one in use, to be chosen among after training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from callbacks.checkpoints import AtomicCheckpointIO
from callbacks.ema import lerp_towards, tracked_tensors
from functional.power_ema import decay_of, gamma_of
from lightning_modules.base import ImageModule

FOLDER = "averages"
"""Where snapshots lie in ``checkpoints/`` of a run folder."""


class EMAProfiles(Callback):
    """Keeps averages of the weights beside that of :class:`callbacks.ema.EMA`.

    Nothing uses them while a model trains; ``sample.py`` and ``evaluate.py`` choose one by name:
    ``weights=ema-0.999`` is the average of that decay, ``weights=power-0.07`` one whose profile is
    a power function of relative width 0.07, which need not be among those kept (Karras et al.
    2024): it is put together from the snapshots of two. Each average takes the memory of the
    weights once more, each snapshot that of all power functions on disk.

    Args:
        decays: each in [0, 1), with the warm-up of ``EMA``.
        sigma_rel: of the power functions kept, 0.05 and 0.10 in the paper.
        snapshot_every_images: how often power functions are written; None for never, and then
            only the kept ones are there.

    Raises:
        ValueError: for a number out of its range, one given twice, or snapshots of nothing.
    """

    def __init__(
        self,
        decays: Sequence[float],
        sigma_rel: Sequence[float],
        snapshot_every_images: int | None,
    ) -> None:
        for decay in decays:
            if not 0 <= decay < 1:
                raise ValueError(f"decays has {decay}, which does not lie in [0, 1)")
        self.decays = {f"ema-{decay:g}": decay for decay in decays}
        self.gammas = {f"power-{sigma:g}": gamma_of(sigma) for sigma in sigma_rel}
        if len(self.decays) < len(decays) or len(self.gammas) < len(sigma_rel):
            raise ValueError(f"an average is named twice in {list(decays)} and {list(sigma_rel)}")
        if snapshot_every_images is not None and (snapshot_every_images < 1 or not self.gammas):
            raise ValueError(
                f"snapshot_every_images={snapshot_every_images} with sigma_rel={list(sigma_rel)}; "
                "expected 1 or more and a power function, or null"
            )
        self.every = snapshot_every_images
        self.updates = 0
        self.averages: dict[str, dict[str, Tensor]] = {}
        self._optimizer_steps = 0
        self._images = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        current = tracked_tensors(pl_module)
        for name in (*self.decays, *self.gammas) if current else ():
            kept = self.averages.get(name, current)
            self.averages[name] = {
                key: kept[key].detach().to(tensor.device, copy=True)
                for key, tensor in current.items()
            }
        if trainer.is_global_zero:
            # Those of a part of a killed run that its checkpoint lacks come again.
            for path, updates in snapshots(Path(trainer.default_root_dir)):
                if updates > self.updates:
                    path.unlink()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, ImageModule)
        self._optimizer_steps, self._images = pl_module.averaged_steps, pl_module.images_seen

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, ImageModule)
        if not self.averages or pl_module.averaged_steps == self._optimizer_steps:
            return
        self._optimizer_steps = pl_module.averaged_steps
        self.updates += 1
        current = tracked_tensors(pl_module)
        for name, average in self.averages.items():
            lerp_towards(average, current, 1 - self._decay(name))
        before, self._images = self._images, pl_module.images_seen
        if self.every and before // self.every < self._images // self.every:
            self._write(trainer)

    def _decay(self, name: str) -> float:
        if name in self.gammas:
            return decay_of(self.gammas[name], self.updates)
        return min(self.decays[name], (1 + self.updates) / (10 + self.updates))

    def _write(self, trainer: Trainer) -> None:
        if not trainer.is_global_zero:
            return
        kept = {name: self.averages[name] for name in self.gammas}
        path = snapshot_folder(Path(trainer.default_root_dir)) / f"{self.updates:09d}.ckpt"
        # read_checkpoint takes nothing without a state_dict.
        AtomicCheckpointIO().save_checkpoint({"state_dict": {}, "averages": kept}, path)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self.averages:
            checkpoint["ema_profiles"] = {
                "updates": self.updates,
                "averages": {name: dict(average) for name, average in self.averages.items()},
            }

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        saved = checkpoint.get("ema_profiles", {"updates": 0, "averages": {}})
        self.updates, self.averages = saved["updates"], dict(saved["averages"])


def snapshot_folder(run: Path) -> Path:
    """Give where the snapshots of the run folder ``run`` lie."""
    return run / "checkpoints" / FOLDER


def snapshots(run: Path) -> list[tuple[Path, int]]:
    """Give the files of the snapshots of a run folder, and the number of updates in each."""
    found = sorted(snapshot_folder(run).glob("*.ckpt"))
    return [(path, int(path.stem)) for path in found if path.stem.isdecimal()]
