"""A run folder of a model as it is built, without training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

import experiment
import run_folder
from tests.command import TINY
from tests.compose import checked


def untrained(folder: Path, *overrides: str, tiny: Sequence[str] = TINY) -> Path:
    """Make the run folder ``folder`` of a tiny model with an average that is the weights."""
    config = checked(*tiny, f"paths.runs={folder.parent}", f"name={folder.name}", *overrides)
    run_folder.release(run_folder.create(config, ""))
    module = experiment.build_module(config)
    generator = torch.Generator().manual_seed(0)
    state = {
        # Zeros at the end of each block would make of any image the same.
        name: torch.randn(t.shape, generator=generator) * 0.1 if t.is_floating_point() else t
        for name, t in module.state_dict().items()
    }
    state |= {name: t.abs() for name, t in state.items() if name.endswith("running_var")}
    content = {
        "state_dict": state,
        "ema": {"weights": state},
        "counters": {"images_seen": 64, "steps": 8},
    }
    (folder / "checkpoints").mkdir()
    torch.save(content, folder / "checkpoints" / "last.ckpt")
    return folder
