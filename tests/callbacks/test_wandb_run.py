from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from lightning import Trainer
from lightning.pytorch.callbacks import Callback

from callbacks.image_logger import ImageLogger
from callbacks.run_record import RunRecord
from callbacks.wandb_run import WandbRun, resolve_mode
from tests.callbacks.toy import Toy
from tests.lightning_modules.tiny import data, trainer

NOBODY = "http://127.0.0.1:9"  # the discard port: nothing listens there


@pytest.fixture(autouse=True)
def no_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("WANDB_MODE", "WANDB_API_KEY", "NETRC", "WANDB_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("WANDB_SILENT", "true")
    yield
    wandb.teardown()


# The mode


def key_file(path: Path, machine: str) -> None:
    path.write_text(f"machine {machine}\n  login user\n  password {'k' * 40}\n")
    path.chmod(0o600)


def test_without_an_account_runs_are_offline() -> None:
    assert resolve_mode(None) == "offline"


def test_a_key_makes_runs_online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    assert resolve_mode(None) == "online"


def test_a_key_that_login_left_makes_runs_online_without_asking_any_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", NOBODY)
    key_file(tmp_path / "home" / ".netrc", "somewhere.else")
    assert resolve_mode(None) == "offline"
    started = time.monotonic()
    key_file(tmp_path / "home" / ".netrc", "127.0.0.1:9")
    assert resolve_mode(None) == "online"
    key_file(tmp_path / "elsewhere", "somewhere.else")
    monkeypatch.setenv("NETRC", str(tmp_path / "elsewhere"))
    assert resolve_mode(None) == "offline"
    assert time.monotonic() - started < 1


def test_a_key_file_that_cannot_be_read_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "home" / ".netrc").write_text("machine machine what is this\n")
    assert resolve_mode(None) == "offline"


def test_the_environment_overrules_a_key_and_a_setting_overrules_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert resolve_mode(None) == "disabled"
    assert resolve_mode("offline") == "offline"


def test_an_unknown_mode_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="'ofline'; known: online, offline, disabled"):
        resolve_mode("ofline")
    monkeypatch.setenv("WANDB_MODE", "dryrunn")
    with pytest.raises(ValueError, match="'dryrunn'"):
        resolve_mode(None)


# A run


class Fid(Callback):
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        pl_module.report("gen/fid/x@2", 100.0 / pl_module.steps)


def logger(folder: Path, **changes: Any) -> WandbRun:
    folder.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {
        "folder": str(folder), "project": "atelier", "name": "quick", "id": "abcd1234",
        "mode": "offline", "tags": ["a", "b"], "group": "g", "job_type": "train",
    }  # fmt: skip
    return WandbRun(**{**settings, **changes})


def inspect(folder: Path, *options: str) -> str:
    """What W&B's own reader finds in the run."""
    command = Path(sys.executable).with_name("wandb")
    (run,) = (folder / "wandb").glob("offline-run-*")
    printed = subprocess.run(
        [str(command), "leet", "inspect", "--json", *options, str(run)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert printed.returncode == 0, printed.stderr
    return printed.stdout


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """The folder of a finished offline run."""
    folder = tmp_path / "run"
    kept = logger(folder)
    kept.log_hyperparams({"seed": 7, "method": {"prediction": "velocity", "sizes": [1, 2]}})
    callbacks = [Fid(), ImageLogger(1), RunRecord()]
    trainer(folder, callbacks, steps=6, logger=[kept]).fit(Toy(), data())
    wandb.finish()
    return folder


def test_an_offline_run_is_read_back_by_wandbs_own_reader(written: Path) -> None:
    summary = json.loads(inspect(written, "--summary"))
    assert summary["config"] == {
        "seed": 7, "method": {"prediction": "velocity", "sizes": [1, 2]}
    }  # fmt: skip
    assert (summary["run_id"], summary["name"], summary["project"]) == (
        "abcd1234", "quick", "atelier"
    )  # fmt: skip
    assert summary["tags"] == ["a", "b"] and summary["state"] == "finished"
    last = summary["summary"]
    assert last["gen/fid/x@2"] == pytest.approx(100 / 6) and last["images_seen"] == 48
    picture = last["pictures/samples"]
    assert picture["captions"] == ["48 images seen; gen/fid/x@2 16.7"]
    (run,) = (written / "wandb").glob("offline-run-*-abcd1234")
    shown = (run / "files" / picture["filenames"][0]).read_bytes()
    assert shown.startswith(b"\x89PNG")

    records = [json.loads(line) for line in inspect(written).splitlines()]
    rows = [r["history"]["item"] for r in records if r["type"] == "history"]
    losses = [row["images_seen"] for row in rows if "train/loss" in row]
    assert losses == [8, 16, 24, 32, 40, 48]
    axes = [r["metric"] for r in records if r["type"] == "metric"]
    assert [m["step_metric"] for m in axes if m.get("glob_name") == "*"][-1] == "images_seen"
    assert next(r["run"] for r in records if r["type"] == "run")["run_group"] == "g"


def test_nothing_is_written_outside_the_run_folder(written: Path) -> None:
    places = {path.name for path in written.parent.iterdir()}
    assert places <= {"home", "run"}
    assert not list((written.parent / "home").rglob("*.wandb"))
    assert not list((written.parent / "home").rglob("*.png"))


def test_a_server_out_of_reach_is_one_line_and_the_run_goes_on_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wandb.teardown()
    monkeypatch.setenv("WANDB_BASE_URL", NOBODY)
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    kept = logger(tmp_path / "run", mode="online", init_timeout=1.0)
    with caplog.at_level(logging.WARNING, "callbacks.wandb_run"):
        kept.log_hyperparams({"seed": 7})
    said = [r.getMessage() for r in caplog.records if r.name == "callbacks.wandb_run"]
    assert len(said) == 1
    assert "out of reach" in said[0] and "offline" in said[0] and "\n" not in said[0]
    assert kept.mode == "offline"
    kept.images_seen = 8
    kept.log_metrics({"train/loss": 0.5, "epoch": 0})
    wandb.finish()
    summary = json.loads(inspect(tmp_path / "run", "--summary"))
    assert summary["run_id"] == "abcd1234" and summary["config"]["seed"] == 7
    assert summary["summary"]["train/loss"] == 0.5
    assert "epoch" not in summary["summary"]


def test_a_disabled_run_writes_nothing(tmp_path: Path) -> None:
    kept = logger(tmp_path / "run", mode="disabled")
    kept.log_metrics({"train/loss": 0.5})
    assert not [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
