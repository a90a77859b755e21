"""kill -9 at any moment loses nothing: the resumed run ends bit-equal to one never interrupted."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from callbacks.checkpoints import read_checkpoint
from callbacks.run_record import read_rows
from tests.command import TINY, run, start

STEPS = 60
SETTINGS = [
    *TINY,
    f"budget.steps={STEPS}",
    "callbacks.checkpoints.every_n_steps=4",
    "paths.runs=.",
    "paths.cache=cache",
    "name=run",
]
OTHER_FILE_SYSTEM = "/dev/shm" if Path("/dev/shm").is_dir() else "/tmp"
# What the clock decides, or a process is: everything else must agree to the bit.
OF_THE_CLOCK = ("time", "throughput/images_per_second")


def rows(folder: Path) -> list[dict[str, Any]]:
    return [
        {k: v for k, v in row.items() if k not in OF_THE_CLOCK}
        for row in read_rows(folder / "metrics.jsonl")
    ]


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    content = read_checkpoint(folder / "checkpoints" / "last.ckpt")
    found = {f"model {k}": v for k, v in content["state_dict"].items()}
    found |= {f"ema {k}": v for k, v in content["ema"]["weights"].items()}
    for index, state in content["optimizer_states"][0]["state"].items():
        found |= {f"optimiser {index} {k}": v for k, v in state.items()}
    return found


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("whole")
    run("train.py", *SETTINGS, cwd=place)
    return place / "run"


def assert_equal(folder: Path, whole: Path) -> None:
    one, other = tensors(folder), tensors(whole)
    assert one.keys() == other.keys()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert not different
    assert rows(folder) == rows(whole)


def kill_when(place: Path, arguments: list[str], moment: Any) -> bool:
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
    path = place / "run" / "metrics.jsonl"
    return path.exists() and path.read_bytes().count(b"\n") >= steps


def writing(place: Path) -> bool:
    return any((place / "run" / "checkpoints").glob(".*.partial"))


@pytest.mark.parametrize("kills", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_at_random_moments_a_resumed_run_is_bit_equal(
    uninterrupted: Path, tmp_path: Path, kills: int
) -> None:
    dice = random.Random(kills)
    arguments, killed = SETTINGS, 0
    for at in sorted(dice.sample(range(1, STEPS + 6), kills)):
        delay = time.monotonic() + 1e9

        def moment(at: int = at) -> bool:
            nonlocal delay
            if seen(tmp_path, at) and delay > 1e8 + time.monotonic():
                delay = time.monotonic() + dice.uniform(0, 0.03)
            return time.monotonic() >= delay

        killed += kill_when(tmp_path, arguments, moment)
        arguments = ["resume=run"]
    assert killed >= kills - 1
    run("train.py", "resume=run", cwd=tmp_path)
    assert_equal(tmp_path / "run", uninterrupted)


def test_killed_while_a_checkpoint_is_written_a_resumed_run_is_bit_equal(
    uninterrupted: Path, tmp_path: Path
) -> None:
    killed, arguments = 0, SETTINGS
    for least in (10, 30):
        killed += kill_when(
            tmp_path, arguments, lambda least=least: seen(tmp_path, least) and writing(tmp_path)
        )
        arguments = ["resume=run"]
        assert read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert killed == 2
    run("train.py", "resume=run", cwd=tmp_path)
    assert_equal(tmp_path / "run", uninterrupted)
    assert not writing(tmp_path)
