"""sweep.py: trials chosen, followed, stopped where poor, and gone on with after a kill."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

import experiment
import job_process
import trials
from config import register
from tests.command import ROOT, TINY, run
from tests.compose import composed

optuna = pytest.importorskip("optuna")
import sweep  # noqa: E402

# In place of train.py: FID falls from 9 to 9 times the distance of log10(lr) from -2.
TRAINING = """
import json, math, os, pathlib, sys, time
given = dict(word.split("=", 1) for word in sys.argv[1:])
resumed = "resume" in given
run = pathlib.Path(given["resume"] if resumed else given["paths.runs"] + "/" + given["name"])
run.mkdir(parents=True, exist_ok=True)
if given["method.optimizer.lr"] == "0.5":
    sys.exit(print("error: too steep", file=sys.stderr) or 1)
known = {"resumed": resumed, "device": os.environ.get("CUDA_VISIBLE_DEVICES")}
(run / "run.json").write_text(json.dumps({"status": "running", **known}))
poor = abs(math.log10(float(given["method.optimizer.lr"])) + 2)
with open(run / "metrics.jsonl", "a") as file:
    for step in range(1, 5):
        row = {"images_seen": 100 * step, "gen/fid/x@2k": 9 * poor + 9 - step, "train/loss": 1}
        print(json.dumps(row), file=file, flush=True)
        time.sleep(0.3 if poor > 1 else 0)
    print(json.dumps({"images_seen": 400, "gen/fid/x@10k": 0.1}), file=file)
(run / "run.json").write_text(json.dumps({"status": "finished", **known}))
"""


@pytest.fixture
def search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., optuna.Study]]:
    """Call sweep.py in this process; its trials are processes of TRAINING."""
    script = tmp_path / "training.py"
    script.write_text(TRAINING)
    command = lambda given: [sys.executable, str(script), *given]  # noqa: E731
    monkeypatch.setattr(job_process, "command", command)
    monkeypatch.setattr(trials.Search, "poll_seconds", 0.02)
    monkeypatch.chdir(tmp_path)
    register()
    check, compose = experiment.check, sweep.compose

    def call(*overrides: str, checked: bool = False) -> optuna.Study:
        """``checked``: also compose the first training, which takes most of the time."""
        monkeypatch.setattr(experiment, "check", check if checked else lambda cfg: None)
        monkeypatch.setattr(sweep, "compose", compose if checked else lambda *a, **k: None)
        given = [override for override in overrides if override.startswith("+space")]
        space = given or ["+space={method.optimizer.lr: [1e-2, 1e-1, 1e-3]}"]
        rest = [override for override in overrides if override not in given]
        cfg = composed("study=lr", *space, *rest, name="sweep")
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            return sweep.sweep(cfg)

    yield call
    GlobalHydra.instance().clear()


def states(study: optuna.Study) -> list[str]:
    return [trial.state.name for trial in study.get_trials()]


def test_a_grid_is_every_combination_once_whoever_calls_and_the_validations_value_counts(
    search: Callable[..., optuna.Study], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = search("sampler=grid", "devices=[3,5]", "prune=false")
    assert states(study) == ["COMPLETE"] * 3
    assert sorted(trial.value for trial in study.get_trials()) == [5, 14, 14]
    assert study.best_params == {"method.optimizer.lr": 0.01}
    records = [json.loads(path.read_text()) for path in tmp_path.glob("runs/lr/*/run.json")]
    assert {record["device"] for record in records} == {"3", "5"}
    printed = capsys.readouterr().out
    assert "3 trials to their end" in printed and "method.optimizer.lr=0.01" in printed
    best = printed.splitlines()[-1]
    assert best == "the best again: python train.py method.optimizer.lr=0.01"
    assert len(search("sampler=grid").get_trials()) == 3


def test_a_trial_worse_than_the_median_is_stopped_and_one_that_fails_is_no_value(
    search: Callable[..., optuna.Study], capsys: pytest.CaptureFixture[str]
) -> None:
    space = "+space={method.optimizer.lr: [1e-2, 0.5, 1e-5]}"
    study = search("sampler=grid", space, "startup_trials=1")
    assert sorted(states(study)) == ["COMPLETE", "FAIL", "PRUNED"]
    printed = capsys.readouterr().out
    assert "pruned at" in printed and "failed: too steep" in printed


def test_a_trial_that_a_kill_left_behind_goes_on_and_is_not_drawn_again(
    search: Callable[..., optuna.Study], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    follow = trials.Search._follow

    class Killed(BaseException):
        pass

    def killed(self: Any, trial: Any, run: Path, process: Any) -> None:
        process.wait()
        raise Killed

    monkeypatch.setattr(trials.Search, "_follow", killed)
    with pytest.raises(Killed):
        search("sampler=random", "trials=2")
    record = tmp_path / "runs" / "lr" / "trial-0000" / "run.json"
    record.write_text(record.read_text().replace("finished", "running"))
    monkeypatch.setattr(trials.Search, "_follow", follow)
    study = search("sampler=random", "trials=2")
    assert states(study) == ["COMPLETE"] * 2
    assert json.loads(record.read_text())["resumed"]
    assert study.get_trials()[0].user_attrs["host"] == socket.gethostname()
    assert len(search("sampler=random", "trials=3").get_trials()) == 3


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["sampler=tpo"], "did you mean 'tpe'"),
        (["+space={}"], "names no setting"),
        (["+space={method.lr_: [1]}"], "unknown key method.lr_"),
        (["+space={method.optimizer.lr: 3}"], "give a list, or low and high"),
        (["+space={method.optimizer.lr: {low: 0, high: 1, log: true}}"], "no range of numbers"),
        (["sampler=grid", "+space={method.optimizer.lr: {low: 1, high: 2}}"], "a list of values"),
        (["+space={method.optimizer.lr: [fast]}"], "method.optimizer.lr"),
        (["trials=0"], "trials=0, expected at least 1"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_any_trial(
    search: Callable[..., optuna.Study], overrides: list[str], words: str, tmp_path: Path
) -> None:
    with pytest.raises(Exception) as caught:
        search(*overrides, checked=True)
    from command_line import one_line

    assert words in one_line(caught.value)
    assert not (tmp_path / "runs").exists()


def test_a_study_of_other_settings_is_not_gone_on_with(
    search: Callable[..., optuna.Study],
) -> None:
    search("sampler=grid", "trials=1")
    with pytest.raises(ValueError, match="another one: metric: gen/fid -> gen/kid"):
        search("sampler=grid", "metric=gen/kid")


@pytest.mark.parametrize("name", [path.stem for path in (ROOT / "conf" / "search").glob("*.yaml")])
def test_a_search_that_ships_is_of_settings_that_train_takes(name: str) -> None:
    asked = OmegaConf.to_container(composed(f"search={name}", name="sweep"))
    # One end of each range is enough.
    asked["space"] = {key: sweep._choices(values)[:1] for key, values in asked["space"].items()}
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        sweep.check(asked)


@pytest.mark.slow
def test_two_trials_of_a_real_training_from_the_command_line(tmp_path: Path) -> None:
    words = [*TINY, "callbacks.neighbours=null", "budget.steps=8", "paths.cache=cache"]
    train = "train=[" + ",".join(f"'{word}'" for word in words) + "]"
    space = "+space={seed: {low: 0, high: 9}}"
    done = run("sweep.py", "study=real", "trials=2", train, space, cwd=tmp_path)
    assert "2 trials to their end" in done.stdout
    assert len(list(tmp_path.glob("runs/real/trial-*/run.json"))) == 2
