"""kill -9 at any moment loses nothing: the resumed run ends bit-equal to one never interrupted."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from callbacks.checkpoints import read_checkpoint
from tests.command import TINY, run
from tests.killing import assert_equal, kill_when, seen, writing

STEPS = 60
SETTINGS = [
    *TINY,
    f"budget.steps={STEPS}",
    "callbacks.checkpoints.every_n_steps=4",
    "paths.runs=.",
    "paths.cache=cache",
    "name=run",
]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("whole")
    run("train.py", *SETTINGS, cwd=place)
    return place / "run"


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
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
    assert kill_when(tmp_path, SETTINGS, lambda: seen(tmp_path, 20) and writing(tmp_path))
    assert read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    run("train.py", "resume=run", cwd=tmp_path)
    assert_equal(tmp_path / "run", uninterrupted)
    assert not writing(tmp_path)
