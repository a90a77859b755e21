from __future__ import annotations

import errno
import os
import pickle
import subprocess
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback

from callbacks import checkpoints as module_under_test
from callbacks.checkpoints import (
    AtomicCheckpointIO,
    CheckpointError,
    Checkpoints,
    read_checkpoint,
)
from callbacks.ema import EMA
from tests.callbacks.toy import Toy, same, weights
from tests.lightning_modules.tiny import data, trainer


def content(value: float = 1.0, size: int = 1000) -> dict[str, Any]:
    return {"state_dict": {"w": torch.full((size,), value)}, "steps": 3, "names": ["a", None]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints" / "last.ckpt"


def files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


# Writing


def test_a_checkpoint_is_written_and_read(path: Path) -> None:
    AtomicCheckpointIO().save_checkpoint(content(), path)
    found = AtomicCheckpointIO().load_checkpoint(path)
    assert torch.equal(found["state_dict"]["w"], torch.ones(1000))
    assert (found["steps"], found["names"]) == (3, ["a", None])
    assert files(path.parent) == ["last.ckpt"]


def full_disk(*args: Any, **kwargs: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("place", ["os.fsync", "torch.save", "os.replace"])
def test_a_write_that_fails_keeps_the_old_checkpoint_and_leaves_nothing_behind(
    path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    AtomicCheckpointIO().save_checkpoint(content(1.0), path)
    before = path.read_bytes()
    package, name = place.split(".")
    monkeypatch.setattr(getattr(module_under_test, package), name, full_disk)
    with pytest.raises(CheckpointError, match="No space left.*earlier one is intact") as caught:
        AtomicCheckpointIO().save_checkpoint(content(2.0), path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before
    assert files(path.parent) == ["last.ckpt"]


def test_the_first_write_that_fails_claims_no_earlier_checkpoint(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module_under_test.torch, "save", full_disk)
    with pytest.raises(CheckpointError) as caught:
        AtomicCheckpointIO().save_checkpoint(content(), path)
    assert "earlier" not in str(caught.value)
    assert files(path.parent) == []


def test_a_disk_that_is_really_full_keeps_the_old_checkpoint(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    try:
        AtomicCheckpointIO().save_checkpoint(content(1.0, 100_000), disk / "last.ckpt")
        for size in (170_000, 1_000_000):
            with pytest.raises(CheckpointError, match="earlier one is intact"):
                AtomicCheckpointIO().save_checkpoint(content(2.0, size), disk / "last.ckpt")
            assert float(read_checkpoint(disk / "last.ckpt")["state_dict"]["w"].mean()) == 1
            assert files(disk) == ["last.ckpt"]
    finally:
        subprocess.run(["umount", str(disk)], check=False)


def test_no_other_folder_is_written_to(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Across file systems a move is a copy, and a kill in it takes both."""
    opened = []
    real = open
    monkeypatch.setattr(
        "builtins.open",
        lambda file, *rest, **more: opened.append(file) or real(file, *rest, **more),
    )
    AtomicCheckpointIO().save_checkpoint(content(), path)
    assert {Path(file).parent for file in opened if "ckpt" in str(file)} == {path.parent}


# Reading


class Payload:
    def __init__(self, trap: Path) -> None:
        self.trap = trap

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trap),)


@pytest.mark.parametrize("as_zip", [True, False])
def test_a_pickle_payload_is_refused_and_not_executed(path: Path, as_zip: bool) -> None:
    trap = path.parent / "executed"
    path.parent.mkdir()
    torch.save({**content(), "extra": Payload(trap)}, path, _use_new_zipfile_serialization=as_zip)
    with pytest.raises(CheckpointError, match="refused, nothing in it" if as_zip else "no check"):
        read_checkpoint(path)
    assert not trap.exists()


def test_a_plain_pickle_is_refused_and_not_executed(path: Path) -> None:
    trap = path.parent / "executed"
    path.parent.mkdir()
    path.write_bytes(pickle.dumps(Payload(trap)))
    with pytest.raises(CheckpointError, match="truncated or no checkpoint"):
        read_checkpoint(path)
    assert not trap.exists()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_checkpoint_is_one_clear_error(path: Path, share: float) -> None:
    AtomicCheckpointIO().save_checkpoint(content(), path)
    os.truncate(path, int(path.stat().st_size * share))
    with pytest.raises(CheckpointError, match=r"last\.ckpt is truncated") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_with_spoilt_bytes_is_one_clear_error(path: Path) -> None:
    AtomicCheckpointIO().save_checkpoint(content(), path)
    with zipfile.ZipFile(path) as archive:
        member = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        start = archive.getinfo(member).header_offset + 30 + len(member)
    spoilt = bytearray(path.read_bytes())
    spoilt[start : start + 120] = b"\xff" * 120
    path.write_bytes(spoilt)
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert "last.ckpt" in str(caught.value) and "\n" not in str(caught.value)


def test_another_file_of_torch_is_no_checkpoint(path: Path) -> None:
    path.parent.mkdir()
    torch.save({"w": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="no state_dict"):
        read_checkpoint(path)
    torch.save(torch.zeros(2), path)
    with pytest.raises(CheckpointError, match="no state_dict"):
        read_checkpoint(path)


def test_a_missing_checkpoint_is_named(path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"last\.ckpt"):
        read_checkpoint(path)


# When


class Scores(Callback):
    """Reports the given FIDs, one per validation."""

    def __init__(self, *values: float) -> None:
        self.values = list(values)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        pl_module.report("gen/kid/x@2", -self.values[0])
        pl_module.report("gen/fid/x@2", self.values.pop(0))


def counters(folder: Path, name: str) -> int:
    steps: int = read_checkpoint(folder / "checkpoints" / f"{name}.ckpt")["counters"]["steps"]
    return steps


def test_best_is_the_checkpoint_of_the_lowest_score_and_last_the_end(tmp_path: Path) -> None:
    keeper = Checkpoints("gen/fid", every_minutes=60)
    trainer(tmp_path, [Scores(9.0, 4.0, 7.0, 5.0), keeper], steps=11).fit(Toy(), data())
    assert counters(tmp_path, "best") == 6
    assert counters(tmp_path, "last") == 11
    assert (keeper.best_score, keeper.best_images) == (4.0, 48)
    assert files(tmp_path / "checkpoints") == ["best.ckpt", "last.ckpt"]


def test_without_the_score_there_is_no_best(tmp_path: Path) -> None:
    trainer(tmp_path, [Checkpoints("gen/fid", 60)], steps=4).fit(Toy(), data())
    assert files(tmp_path / "checkpoints") == ["last.ckpt"]


class Saves(AtomicCheckpointIO):
    """Keeps, for each save, the step and the number of batches that a resume would skip."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]
        (batches,) = set(progress.values())
        self.seen.append((checkpoint["counters"]["steps"], batches))
        super().save_checkpoint(checkpoint, path, storage_options)


@pytest.mark.parametrize(
    ("every", "validations", "steps"),
    [(None, 3, [3, 6, 7]), (2, 100, [2, 4, 6, 7]), (2, 3, [2, 3, 4, 6, 7])],
)
def test_last_is_saved_after_each_validation_every_n_steps_and_at_the_end(
    tmp_path: Path, every: int | None, validations: int, steps: list[int]
) -> None:
    """Always between two steps: as many batches are counted as were trained."""
    saves, keeper = Saves(), Checkpoints(None, 60, every)
    interval = {"val_check_interval": validations} if validations < 6 else {"limit_val_batches": 0}
    trainer(tmp_path, [keeper], steps=7, plugins=[saves], **interval).fit(Toy(), data())
    assert saves.seen == [(step, step) for step in steps]


def test_last_is_saved_when_its_time_is_up(tmp_path: Path) -> None:
    saves, keeper = Saves(), Checkpoints(None, every_minutes=0)
    trainer(tmp_path, [keeper], steps=4, plugins=[saves], limit_val_batches=0).fit(Toy(), data())
    assert [step for step, _ in saves.seen] == [1, 2, 3, 4]


def test_processes_ask_for_the_clock_of_the_first_now_and_then_and_together() -> None:
    asked: list[int] = []
    keeper, module = Checkpoints(None, every_minutes=0), Toy()

    def of_the_first(up: bool) -> bool:
        asked.append(module.steps)
        return up

    run: Any = SimpleNamespace(world_size=2, strategy=SimpleNamespace(broadcast=of_the_first))
    for step in range(1, 61):
        module.steps = step
        assert keeper._time_is_up(run, module) == (step in (20, 40, 60))
    assert asked == [20, 40, 60]


def test_a_resumed_run_remembers_its_best_and_equals_one_never_interrupted(
    tmp_path: Path,
) -> None:
    def fit(folder: str, steps: int, *scores: float, resume: bool = False) -> Toy:
        module, keeper = Toy(), Checkpoints("gen/fid", 60)
        last = tmp_path / folder / "checkpoints" / "last.ckpt"
        trainer(tmp_path / folder, [Scores(*scores), keeper, EMA(0.9)], steps=steps).fit(
            module, data(), ckpt_path=last if resume else None, weights_only=True
        )
        return module

    whole = fit("whole", 10, 4.0, 7.0, 5.0, 6.0)
    fit("cut", 4, 4.0, 7.0)
    resumed = fit("cut", 10, 7.0, 5.0, 6.0, resume=True)
    assert same(weights(resumed), weights(whole))
    assert counters(tmp_path / "cut", "best") == counters(tmp_path / "whole", "best") == 3


def test_halves_that_a_kill_left_are_swept_up(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / ".last.ckpt.123.partial").write_bytes(b"half")
    trainer(tmp_path, [Checkpoints(None, 60)], steps=1).fit(Toy(), data())
    assert files(folder) == ["last.ckpt"]
