"""Training stopped half-way and resumed, which must end as uninterrupted training does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from callbacks.checkpoints import Checkpoints
from callbacks.run_record import RunRecord
from lightning_modules.base import ImageModule
from tests.killing import rows
from tests.lightning_modules.tiny import data, trainer

STEPS, CUT = 7, 4
"""In epochs of 5 steps, with a validation after every third."""


class Killed(Exception):
    """What ends a run at once."""


class Kill(Callback):
    """Ends a run between two steps; callbacks before it have had their turn."""

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if pl_module.steps == CUT:
            raise Killed


def assert_resuming_is_exact(
    make: Callable[[], ImageModule],
    folder: Path,
    callbacks: Callable[[], list[Callback]] = list,
) -> list[dict[str, Any]]:
    """Hold that a resumed run ends with the weights and rows of an uninterrupted one; give those.

    Args:
        make: gives the method, the same every time.
        folder: for both runs.
        callbacks: gives new ones for each run.
    """

    def fit(name: str, module: ImageModule, *last: Callback, resume: bool = False) -> Any:
        kept = Checkpoints(None, 60, every_n_steps=CUT)
        made = trainer(folder / name, [RunRecord(), *callbacks(), kept, *last], steps=STEPS)
        path = folder / name / "checkpoints" / "last.ckpt" if resume else None
        made.fit(module, datamodule=data(), ckpt_path=path, weights_only=True)
        return module.state_dict()

    whole = fit("whole", make())
    with pytest.raises(Killed):
        fit("cut", make(), Kill())
    other = make()
    for parameter in other.parameters():
        torch.nn.init.constant_(parameter, 0.1)
    resumed = fit("cut", other, resume=True)
    assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []
    assert rows(folder / "cut") == rows(folder / "whole")
    return rows(folder / "whole")
