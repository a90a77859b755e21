from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from lightning import Trainer
from lightning.pytorch.callbacks import Callback

from callbacks.checkpoints import Checkpoints
from callbacks.guards import Guards, NonFiniteLoss
from callbacks.run_record import MetricsFile, RunRecord, read_rows, write_json
from callbacks.throughput import Throughput
from tests.callbacks.toy import Toy
from tests.lightning_modules.tiny import data, trainer


def record(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return content


class Scores(Callback):
    """Reports these values, one of each key per validation."""

    def __init__(self, **values: list[float]) -> None:
        self.values = values

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        for key, values in self.values.items():
            pl_module.report(f"gen/{key}/x@2", values.pop(0))


# run.json


def test_a_run_that_trained_and_was_tested_is_finished(tmp_path: Path) -> None:
    module, throughput = Toy(), Throughput(1)
    run = trainer(tmp_path, [RunRecord(), throughput], steps=6)
    run.fit(module, data())
    assert record(tmp_path)["status"] == "trained"
    run.test(module, data(), verbose=False)
    content = record(tmp_path)
    assert content["status"] == "finished"
    assert (content["steps"], content["images_seen"]) == (6, 48)
    assert content["parameters"] == sum(p.numel() for p in module.parameters())
    assert (content["processes"], content["device"]) == (1, "cpu")
    assert content["wall_clock_seconds"] >= 0
    assert content["images_per_second"] == pytest.approx(throughput.mean_images_per_second, rel=0.5)
    assert content["final"].keys() == {"test/loss"}
    assert content["last"].keys() == {"val/loss"}


def test_scores_keep_their_best_whichever_way_they_improve(tmp_path: Path) -> None:
    values = {
        "fid": [9.0, 3.0, 5.0], "kid": [0.2, 0.3, 0.1], "precision": [0.4, 0.6, 0.5],
        "recall": [0.3, 0.2, 0.1], "density": [0.1, 0.5, 0.2], "coverage": [0.1, 0.2, 0.3],
        "inception_score": [1.0, 4.0, 2.0],
    }  # fmt: skip
    scores = Scores(**{key: list(found) for key, found in values.items()})
    trainer(tmp_path, [scores, RunRecord()], steps=9).fit(Toy(), data())
    content = record(tmp_path)
    for key, found in values.items():
        best = min(found) if key in ("fid", "kid") else max(found)
        assert content["best"][f"gen/{key}/x@2"] == best
        assert content["last"][f"gen/{key}/x@2"] == found[-1]
    assert content["best"]["val/loss"] <= content["last"]["val/loss"]


def test_a_run_that_fails_says_how(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLoss):
        trainer(tmp_path, [RunRecord(), Guards(1)], steps=9).fit(Toy(bad_step=2), data())
    assert record(tmp_path)["status"] == "failed"
    assert record(tmp_path)["error"].startswith("NonFiniteLoss: the gradient became nan at step 2")


class Interrupt(Callback):
    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *args: Any) -> None:
        if pl_module.steps == 4:
            raise KeyboardInterrupt


def test_a_run_that_is_interrupted_says_so(tmp_path: Path) -> None:
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        trainer(tmp_path, [RunRecord(), Interrupt()], steps=9).fit(Toy(), data())
    assert record(tmp_path)["status"] == "interrupted"


class Stop(Callback):
    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *args: Any) -> None:
        trainer.should_stop = pl_module.steps == 4


def test_a_run_that_ends_before_its_budget_is_not_called_trained(tmp_path: Path) -> None:
    trainer(tmp_path, [RunRecord(), Stop()], steps=9).fit(Toy(), data())
    assert record(tmp_path)["status"] == "interrupted"
    assert record(tmp_path)["steps"] == 4


def test_what_others_wrote_into_the_record_stays(tmp_path: Path) -> None:
    write_json(tmp_path / "run.json", {"wandb_id": "abc", "status": "starting"})
    trainer(tmp_path, [RunRecord()], steps=2).fit(Toy(), data())
    assert record(tmp_path)["wandb_id"] == "abc"
    assert record(tmp_path)["status"] == "trained"


def test_a_resumed_run_keeps_its_best_and_adds_to_its_time(tmp_path: Path) -> None:
    def fit(steps: int, fids: list[float], resume: bool = False) -> dict[str, Any]:
        last = tmp_path / "checkpoints" / "last.ckpt"
        callbacks = [Scores(fid=fids), RunRecord(), Checkpoints(None, 60)]
        trainer(tmp_path, callbacks, steps=steps).fit(
            Toy(), data(), ckpt_path=last if resume else None, weights_only=True
        )
        return record(tmp_path)

    first = fit(3, [2.0])
    second = fit(6, [5.0], resume=True)
    assert second["best"]["gen/fid/x@2"] == 2.0 and second["last"]["gen/fid/x@2"] == 5.0
    assert second["wall_clock_seconds"] > first["wall_clock_seconds"]
    resumed = [row["seconds"] for row in read_rows(tmp_path / "metrics.jsonl")]
    assert resumed == sorted(resumed) and resumed[-1] >= first["wall_clock_seconds"]


def test_a_record_is_replaced_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": 2, "b": object()})
    assert json.loads(path.read_text()) == {"a": 1}


# metrics.jsonl


def test_every_row_carries_the_images_that_were_seen(tmp_path: Path) -> None:
    trainer(tmp_path, [RunRecord()], steps=6).fit(Toy(), data())
    rows = read_rows(tmp_path / "metrics.jsonl")
    seen = {
        key: [row["images_seen"] for row in rows if key in row]
        for key in ("train/loss", "val/loss")
    }
    assert seen == {"train/loss": [8, 16, 24, 32, 40, 48], "val/loss": [24, 48]}
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds) and seconds[-1] > 0


def test_rows_after_the_checkpoint_are_dropped_and_a_half_line_with_them(tmp_path: Path) -> None:
    file = MetricsFile(str(tmp_path))
    for images in (8, 16, 24, 32):
        file.images_seen = images
        file.log_metrics({"loss": images / 8, "epoch": 0})
    with open(file.path, "a") as half:
        half.write('{"images_seen": 40, "lo')
    assert [row["images_seen"] for row in read_rows(file.path)] == [8, 16, 24, 32]
    file.rewind(24)
    assert [(r["images_seen"], r["loss"]) for r in read_rows(file.path)] == [
        (8, 1), (16, 2), (24, 3)
    ]  # fmt: skip
    assert "epoch" not in read_rows(file.path)[0]
    file.images_seen = 32
    file.log_metrics({"loss": math.pi})
    assert read_rows(file.path)[-1]["loss"] == math.pi
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_missing_file_has_no_rows_and_can_be_rewound(tmp_path: Path) -> None:
    file = MetricsFile(str(tmp_path))
    assert read_rows(file.path) == []
    file.rewind(0)
    assert read_rows(file.path) == []


def test_a_resumed_run_forgets_how_it_failed_and_its_scores_of_the_end(tmp_path: Path) -> None:
    write_json(tmp_path / "run.json", {"error": "OSError: disk", "final": {"gen/fid/x@2": 1.0}})
    trainer(tmp_path, [RunRecord()], steps=2).fit(Toy(), data())
    assert record(tmp_path)["error"] is None
    assert record(tmp_path)["final"] == {}
