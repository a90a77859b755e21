"""Killing runs at chosen moments, and everything that two runs must have in common."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from callbacks.checkpoints import read_checkpoint
from callbacks.run_record import read_rows
from tests.command import start

OTHER_FILE_SYSTEM = "/dev/shm" if Path("/dev/shm").is_dir() else "/tmp"
# What the clock decides, or a process is: everything else must agree to the bit.
OF_THE_CLOCK = ("time", "seconds", "throughput/images_per_second")


def rows(folder: Path) -> list[dict[str, Any]]:
    """Give the rows of a run's metrics without what the clock decides."""
    return [
        {k: v for k, v in row.items() if k not in OF_THE_CLOCK}
        for row in read_rows(folder / "metrics.jsonl")
    ]


def tensors(folder: Path) -> dict[str, Tensor]:
    """Give the weights, their average and every optimiser's state of a run's last checkpoint."""
    content = read_checkpoint(folder / "checkpoints" / "last.ckpt")
    found = {f"model {k}": v for k, v in content["state_dict"].items()}
    found |= {f"ema {k}": v for k, v in content["ema"]["weights"].items()}
    for number, optimizer in enumerate(content["optimizer_states"]):
        for index, state in optimizer["state"].items():
            found |= {f"optimiser {number} {index} {k}": v for k, v in state.items()}
    return found


def pictures(folder: Path) -> dict[str, str]:
    """Give a digest of the pixels of every picture of a run, by its name."""
    found = {}
    for path in sorted((folder / "samples").glob("*.png")):
        with Image.open(path) as picture:
            found[path.name] = hashlib.sha256(picture.tobytes()).hexdigest()
    return found


def assert_equal(folder: Path, whole: Path) -> None:
    """Hold that a run ended as the uninterrupted ``whole`` did, to the bit."""
    one, other = tensors(folder), tensors(whole)
    assert one.keys() == other.keys()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert not different
    assert rows(folder) == rows(whole)
    assert pictures(folder) == pictures(whole) != {}


def kill_when(place: Path, arguments: list[str], moment: Callable[[], bool]) -> bool:
    """Start training and kill -9 it when ``moment()`` holds; tell whether it was still alive."""
    process = start("train.py", *arguments, cwd=place, TMPDIR=OTHER_FILE_SYSTEM)
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if moment():
            process.kill()
            break
        time.sleep(0.0005)
    process.communicate()
    return process.returncode == -9


def seen(place: Path, steps: int) -> bool:
    """Tell whether the run in ``place`` has logged so many rows."""
    path = place / "run" / "metrics.jsonl"
    return path.exists() and path.read_bytes().count(b"\n") >= steps


def writing(place: Path) -> bool:
    """Tell whether the run in ``place`` is writing a checkpoint."""
    return any((place / "run" / "checkpoints").glob(".*.partial"))
