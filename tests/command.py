"""Running the commands as a user would, on a model and data so small that a run takes seconds."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests import forked
from tests.forked import ROOT, Forked

TINY_DATA = [
    "data=fake",
    "data.image_size=8",
    "data.num_classes=2",
    "data.size=40",
    "data.validation_size=16",
    "data.test_size=16",
    "data.batch_size=8",
]
TINY = [
    *TINY_DATA,
    "method.network.channels=8",
    "method.network.multipliers=[1]",
    "method.network.blocks=1",
    "method.network.attention_resolutions=[]",
    "method.network.patch_size=1",
    "method.sampling.steps=3",
    "callbacks.generation.n=16",
    "callbacks.generation.n_final=16",
    "callbacks.neighbours.n=16",
    "validate_every_images=48",
    "budget.images=null",
    "budget.minutes=null",
    "budget.steps=20",
    "trainer.log_every_n_steps=1",
    "trainer.precision=32-true",
    "trainer.accelerator=cpu",
    "logger=none",
]


def environment(**extra: str) -> dict[str, str]:
    """Give the environment of a command: one thread, no account, no run of an outer test."""
    dropped = ("ATELIER_RUN_FOLDER", "WANDB_API_KEY", "PL_GLOBAL_SEED", "LOCAL_RANK", "WORLD_SIZE")
    kept = {key: value for key, value in os.environ.items() if key not in dropped}
    return {**kept, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **extra}


def start(script: str, *arguments: str, cwd: Path, **extra: str) -> Forked:
    """Start a command in ``cwd``."""
    given = str(ROOT / script), *arguments
    return Forked(forked.script, *given, cwd=cwd, env=environment(**extra))


def run(
    script: str, *arguments: str, cwd: Path, ok: bool = True, timeout: float = 300, **extra: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; where ``ok``, anything but success shows what it printed."""
    process = start(script, *arguments, cwd=cwd, **extra)
    out, err = process.communicate(timeout=timeout)
    assert not ok or process.returncode == 0, f"{script} {arguments}\n{out}\n{err}"
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
