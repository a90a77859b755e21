from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from lightning import Trainer
from lightning.pytorch.callbacks import Callback

from callbacks import progress as progress_module
from callbacks.progress import Progress
from callbacks.throughput import Throughput
from tests.callbacks.toy import Toy
from tests.lightning_modules.tiny import data, trainer


class Fid(Callback):
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        pl_module.report("gen/fid/x@2", 12.345)


def shown(folder: Path, seconds: float, **changes: Any) -> None:
    callbacks = [Throughput(1), Fid(), Progress(seconds)]
    trainer(folder, callbacks, steps=8, enable_progress_bar=True, **changes).fit(Toy(), data())


def test_without_a_terminal_it_prints_plain_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown(tmp_path, seconds=0.0)
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert not any(character in out for character in "\r\x1b█")
    assert "training" not in err
    steps = [line for line in lines if line.startswith("[")]
    assert len(steps) == 8
    assert steps[0].startswith("[ 12%] 8 images, loss 0.")
    assert steps[-1].startswith("[100%] 64 images")
    assert "images/s" in steps[3] and "FID 12.35" in steps[3] and steps[3].endswith(" left")
    validations = [line for line in lines if line.startswith("validation at 24 images")]
    assert len(validations) == 1
    assert "val/loss 0." in validations[0] and "gen/fid/x@2 12.3" in validations[0]


def test_lines_come_no_more_often_than_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown(tmp_path, seconds=3600.0)
    out = capsys.readouterr().out.splitlines()
    assert len([line for line in out if line.startswith("[")]) == 1


def test_in_a_terminal_it_is_one_bar(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    shown(tmp_path, seconds=0.0)
    out, err = capsys.readouterr()
    assert "training" in err and "\r" in err
    assert not any(line.startswith("[") for line in out.splitlines())
    assert "validation at 24 images" in out + err


def test_a_bar_that_is_switched_off_shows_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bar = Progress(0.0)
    bar.disable()
    trainer(tmp_path, [bar], steps=4, enable_progress_bar=True).fit(Toy(), data())
    assert capsys.readouterr().out == ""


def test_time_left_counts_training_and_not_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """8 steps of 60 s; after half of them 4 minutes are left, whatever validation took."""
    clock = {"now": 0.0}

    class Clock(Callback):
        def on_train_batch_start(self, *args: Any) -> None:
            clock["now"] += 60

        def on_validation_epoch_end(self, *args: Any) -> None:
            clock["now"] += 10_000

    monkeypatch.setattr(progress_module.time, "perf_counter", lambda: clock["now"])
    run = trainer(tmp_path, [Clock(), Progress(0.0)], steps=8, enable_progress_bar=True)
    run.fit(Toy(), data())
    steps = [line for line in capsys.readouterr().out.splitlines() if line.startswith("[")]
    assert [line.split(", ")[-1] for line in steps[:5]] == [
        "7:00 left", "6:00 left", "5:00 left", "4:00 left", "3:00 left",
    ]  # fmt: skip
