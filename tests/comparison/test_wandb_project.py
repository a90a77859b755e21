"""Runs of a W&B project beside those of folders; a stand-in for its API, which needs a network."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wandb
import yaml
from lightning.pytorch.loggers import WandbLogger

import compare
import run_folder as folders
import summary
from comparison.runs import NoRun
from comparison.wandb_project import read_project
from tests.comparison.folders import WHILE_TRAINING, final, run_folder, tracked


class Settings(WandbLogger):
    """Keeps what a run tells W&B of its settings."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.told = told

    def log_hyperparams(self, params: Any) -> None:  # type: ignore[override]
        self.told |= params


@dataclass
class Online:
    """A run as W&B's API gives it."""

    id: str
    config: dict[str, Any]
    state: str = "finished"
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)

    def scan_history(self) -> list[dict[str, Any]]:
        return self.history


def uploaded(folder: Path, **changes: Any) -> Online:
    """What W&B has of the run in ``folder``: its settings, its record at the end, its rows."""
    told = yaml.safe_load((folder / "config.yaml").read_text())
    built = SimpleNamespace(
        trainer=SimpleNamespace(loggers=[Settings(told)], is_global_zero=True),
        module=SimpleNamespace(capabilities=set()),
    )
    config = {**told, "budget": {"steps": None, "minutes": None}}
    summary.closing(folders.Run(folder, config, "x"), built)  # type: ignore[arg-type]
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    history = [{**row, "_step": i, "_runtime": 80.0 * i} for i, row in enumerate(rows)]
    return Online(**{"id": folder.name, "config": told, "history": history, **changes})


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Projects by name, a list of runs or an error, that W&B is made to have."""
    found: dict[str, Any] = {}

    def runs(name: str, lazy: bool) -> Any:
        if isinstance(found.get(name), Exception):
            raise found[name]
        if name not in found:
            raise ValueError(f"Could not find project {name}")
        return found[name]

    monkeypatch.setattr(wandb, "Api", lambda timeout: SimpleNamespace(runs=runs))
    return found


def test_runs_of_a_project_are_ranked_with_those_of_folders(
    tmp_path: Path, project: dict[str, Any]
) -> None:
    here = tracked(run_folder(tmp_path / "runs" / "gan", **final(14.0)), [20.0, 15.0])
    there = tracked(run_folder(tmp_path / "there" / "ddpm", "DDPM", **final(6.0)), [30.0, 8.0])
    crashed = Online("c", {**uploaded(here).config, "record": None}, "crashed")
    project["me/clothes"] = [uploaded(there), crashed, Online("odd", {"lr": 1})]
    board = compare.compare(
        [tmp_path / "runs", Path("wandb:me/clothes")], tmp_path / "out", quiet=True
    )
    (table,) = board.tables
    assert [(row.rank, row.label) for row in table.rows] == [(1, "DDPM"), (2, "GAN")]
    online = next(run for run in board.runs if run.method == "DDPM")
    assert str(online.folder) == "wandb:me/clothes/ddpm"
    assert [row[WHILE_TRAINING] for row in online.rows] == [30.0, 8.0]
    assert "no run of train.py" in board.left_out["wandb:me/clothes/odd"]
    assert "wandb:me/clothes/c" in board.left_out


@pytest.mark.parametrize(
    ("place", "error", "words"),
    [
        ("wandb:me/nothing", None, "Could not find project me/nothing; check the name"),
        ("wandb:me/x", wandb.errors.UsageError("No API key configured."), "No API key configured;"),
        ("wandb:me/x", OSError("Network is unreachable"), "Network is unreachable; check"),
        ("wandb:clothes", None, "expected wandb:ENTITY/PROJECT"),
        ("wandb:me/empty", None, "wandb:me/empty holds no runs"),
    ],
)
def test_a_project_that_cannot_be_read_is_one_line(
    project: dict[str, Any], place: str, error: Exception | None, words: str
) -> None:
    project |= {"me/x": error, "me/empty": []}
    with pytest.raises(NoRun) as caught:
        read_project(place)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_project_is_not_watched(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        compare.main(["wandb:me/clothes", "--watch"])
    assert "--watch looks at run folders" in capsys.readouterr().err
