"""Two processes over gloo do what one does."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import numpy as np
import pytest

from tests import forked
from tests.command import TINY, run, start

TWO = ("trainer=ddp_cpu", "trainer.devices=2")
HERE = ("paths.runs=.", "paths.cache=cache")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run trained by two processes, with W&B offline and a record of each rank's weights."""
    place = tmp_path_factory.mktemp("two")
    settings = [s for s in TINY if s not in ("logger=none", "trainer.accelerator=cpu")]
    run("train.py", *settings, *TWO, *HERE, "logger.mode=offline", "name=run", cwd=place)
    return place / "run"


def by_two(script: str, *arguments: str, cwd: Path) -> None:
    """Call a command in two processes, as ``torchrun --nproc-per-node=2`` does."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    job = {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": port,
        "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0",
    }  # fmt: skip
    forked.together(
        start(script, *arguments, *TWO, cwd=cwd, **job, RANK=rank, LOCAL_RANK=rank)
        for rank in ("0", "1")
    )


def test_ranks_hold_equal_weights_and_draw_different_noise(trained: Path) -> None:
    """The record holds a digest of the weights and the first noise of each rank at the end."""
    record = json.loads((trained / "run.json").read_text())
    weights, noise = zip(*record["ranks"], strict=True)
    assert len(weights) == 2
    assert weights[0] == weights[1]
    assert noise[0] != noise[1]


def test_two_processes_make_one_run_of_every_kind(trained: Path) -> None:
    assert len(list(trained.parent.glob("*/run.json"))) == 1
    assert len(list((trained / "wandb").glob("offline-run-*"))) == 1
    record = json.loads((trained / "run.json").read_text())
    assert record["status"] == "finished"
    assert (record["processes"], record["images_seen"], record["steps"]) == (2, 160, 20)


def test_sampling_by_two_processes_writes_the_same_bytes(trained: Path) -> None:
    place = trained.parent
    run("sample.py", "run=run", "n=300", "seed=3", "output=one.npz", cwd=place)
    by_two("sample.py", "run=run", "n=300", "seed=3", "output=two.npz", cwd=place)
    one, two = (np.load(place / f"{name}.npz")["images"] for name in ("one", "two"))
    assert one.shape == (300, 8, 8, 1)
    assert one.dtype == np.uint8
    assert one.tobytes() == two.tobytes()
    assert (place / "one.npz").read_bytes() == (place / "two.npz").read_bytes()


def test_fid_of_two_processes_is_that_of_one(trained: Path) -> None:
    place = trained.parent
    values = []
    for command in (run, by_two):
        (trained / "evaluation.json").unlink(missing_ok=True)
        command("evaluate.py", "run=run", "n=300", "paths.cache=cache", cwd=place)
        (entry,) = json.loads((trained / "evaluation.json").read_text())["evaluations"]
        values.append(entry["scores"])
    assert values[0].keys() == values[1].keys()
    for key, value in values[0].items():
        assert values[1][key] == pytest.approx(value, rel=1e-6), key


def test_a_run_of_two_processes_resumes_as_two(trained: Path) -> None:
    by_two("train.py", "resume=run", "budget.steps=24", cwd=trained.parent)
    record = json.loads((trained / "run.json").read_text())
    assert (record["status"], record["steps"]) == ("finished", 24)
