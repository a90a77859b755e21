"""A sweep: a folder for each job, failures told at the end, and finished jobs never repeated."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from torch import Tensor

import command_line
import job_process
import run_folder
import train
from callbacks.checkpoints import read_checkpoint
from callbacks.run_record import RunRecord, read_rows, write_json
from config import ConfigError
from tests.command import TINY, run
from tests.compose import checked, composed, job
from tests.killing import kill_when

MULTIRUN = ["hydra.mode=MULTIRUN", "hydra.job.num=0", "hydra.job.id=0"]
QUICK = [*TINY, "callbacks.neighbours=null", "callbacks.images=null", "budget.steps=8"]


@pytest.fixture(autouse=True)
def no_failures() -> Iterator[None]:
    command_line._failed.clear()
    yield
    command_line._failed.clear()


def one_job(place: Path, *overrides: str) -> Any:
    return train.train(job(*QUICK, *MULTIRUN, f"paths.runs={place}", *overrides))


def records(place: Path) -> dict[int, dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in place.glob("*/run.json")]
    return {record["seed"]: record for record in found}


def weights(place: Path, seed: int) -> dict[str, Tensor]:
    folder = place / records(place)[seed]["name"]
    state: dict[str, Tensor] = read_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"]
    return state


class Killed(BaseException):
    """What no part of a run handles, as none handles kill -9."""


@pytest.fixture
def kill_after_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """End the next training in this process after a step, as if the machine went off."""
    end_of_batch = RunRecord.on_train_batch_end

    def arm(step: int) -> None:
        def die(self: Any, trainer: Any, module: Any, *args: Any) -> None:
            if module.steps == step:
                monkeypatch.setattr(RunRecord, "on_train_batch_end", end_of_batch)
                raise Killed

        monkeypatch.setattr(RunRecord, "on_train_batch_end", die)

    monkeypatch.setattr(RunRecord, "on_exception", lambda *args: None)
    return arm


def test_the_same_sweep_again_skips_what_is_finished_and_resumes_exactly_what_was_killed(
    tmp_path: Path,
    kill_after_step: Callable[[int], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert one_job(tmp_path, "seed=0") is not None
    kill_after_step(7)
    with pytest.raises(Killed):
        one_job(tmp_path, "seed=1")
    before = records(tmp_path)
    assert [before[seed]["status"] for seed in (0, 1)] == ["finished", "running"]
    first = tmp_path / before[0]["name"] / "run.json"
    stamp = first.stat().st_mtime_ns

    capsys.readouterr()
    assert one_job(tmp_path, "seed=0") is None
    assert "is finished already" in capsys.readouterr().out
    assert one_job(tmp_path, "seed=1") is not None
    assert "going on from its last checkpoint" in capsys.readouterr().out
    after = records(tmp_path)
    assert len(list(tmp_path.glob("*/run.json"))) == 2 and first.stat().st_mtime_ns == stamp
    assert (after[1]["status"], after[1]["wandb_id"]) == ("finished", before[1]["wandb_id"])
    rows = read_rows(tmp_path / after[1]["name"] / "metrics.jsonl")
    seen = [row["images_seen"] for row in rows if "train/loss" in row]
    assert seen == [8 * step for step in range(1, 9)]
    one_job(tmp_path / "whole", "seed=1")
    resumed, whole = weights(tmp_path, 1), weights(tmp_path / "whole", 1)
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_a_job_is_named_after_what_it_computes(tmp_path: Path) -> None:
    def name(*overrides: str) -> str:
        config = checked(*QUICK, f"paths.runs={tmp_path}", *overrides)
        assert run_folder.enter_sweep(config, "title", ["x"]) is None
        return str(config["name"])

    assert name("seed=1").startswith("title-seed1-")
    assert name("seed=1") == name("seed=1", "tags=[a]", "logger=csv", "group=mine")
    others = ("seed=2", "method.warmup_steps=3", "budget.steps=9", "data.batch_size=4")
    assert len({name("seed=1"), *(name("seed=1", other) for other in others)}) == 4 + 1
    assert name("name=mine").startswith("mine-seed0-")


def test_a_job_killed_before_its_record_was_written_begins_again(tmp_path: Path) -> None:
    config = checked(*QUICK, f"paths.runs={tmp_path}", "name=run")
    run_folder.release(run_folder.create(config, ""))
    (tmp_path / "run" / "run.json").unlink()
    run_folder.release(run_folder.create(config, ""))
    assert (tmp_path / "run" / "run.json").exists()
    with pytest.raises(ConfigError, match="exists; go on with it by resume="):
        run_folder.create(config, "")


def test_more_than_one_device_is_refused_with_the_reason_and_the_command(tmp_path: Path) -> None:
    for devices in ("trainer.devices=2", "trainer.devices=-1", "trainer.devices=[0,1]"):
        cfg = job(*QUICK, *MULTIRUN, "trainer=ddp_cpu", devices, f"paths.runs={tmp_path}")
        with pytest.raises(ValueError, match="share one process.*train on part of its data") as e:
            train.train(cfg)
        assert "hydra/launcher=local" in str(e.value)
        command = str(e.value).partition("start the job alone: ")[2]
        assert command.startswith("python train.py data=fake ") and devices in shlex.split(command)
    assert not list(tmp_path.iterdir())


def test_jobs_of_one_sweep_share_a_group_and_one_that_is_given_stays(tmp_path: Path) -> None:
    groups = []
    for overrides in (["seed=0"], ["seed=1"], ["group=mine"]):
        config = checked(*QUICK, "logger=wandb_offline", f"paths.runs={tmp_path}", *overrides)
        run_folder.enter_sweep(config, "title", ["-m", "seed=0,1"])
        assert config["group"] == config["logger"]["group"]
        groups.append(config["group"])
    assert groups[0] == groups[1] != groups[2] == "mine"


def test_a_job_that_fails_stops_no_other_and_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    cfg = job(*QUICK, *MULTIRUN, "seed=1", "data.batch_size=500")
    with command_line.clear_errors():
        train.train(cfg)
    assert command_line._failed[0][0].endswith("seed=1 data.batch_size=500")
    assert "500" in capsys.readouterr().err


def test_failures_make_the_exit_code_of_the_sweep(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        command_line.run(lambda: command_line._failed.append(("seed=1", "no disk")))
    assert caught.value.code == 1
    assert "error: 1 jobs failed:\n  seed=1: no disk" in capsys.readouterr().err


@pytest.mark.slow
def test_a_sweep_of_two_methods_and_two_seeds_is_killed_and_called_again(tmp_path: Path) -> None:
    # No setting of one method alone: both must take each.
    settings = [
        setting for setting in QUICK if not setting.startswith(("method.", "logger", "callbacks.g"))
    ]
    sweep = ["-m", "method=ddpm,gan", "seed=0,1", *settings, "data.image_size=16"]
    sweep += ["callbacks.generation=null", "logger=wandb_offline"]
    runs = tmp_path / "runs"

    def second_trains() -> bool:
        rows = sorted(runs.glob("*/metrics.jsonl"), key=lambda path: path.stat().st_mtime)
        return len(rows) > 1 and len(read_rows(rows[-1])) > 3

    assert kill_when(tmp_path, sweep, second_trains)
    finished = {path: path.stat().st_mtime_ns for path in runs.glob("*/run.json")}
    finished = {p: t for p, t in finished.items() if "finished" in p.read_text()}
    again = run("train.py", *sweep, cwd=tmp_path)
    assert again.stdout.count("is finished already") == len(finished) == 1
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in finished.items())
    found = [json.loads(path.read_text()) for path in runs.glob("*/run.json")]
    assert [record["status"] for record in found] == ["finished"] * 4
    assert len({record["wandb_id"] for record in found}) == 4
    for record in found:
        assert list((runs / record["name"] / "wandb").glob(f"*run-*{record['wandb_id']}"))


@pytest.mark.slow
def test_a_sweep_with_jobs_that_fail_does_the_others(tmp_path: Path) -> None:
    sweep = ["-m", *QUICK, "seed=0,1", "data.batch_size=8,7777", "paths.runs=runs"]
    failed = run("train.py", *sweep, cwd=tmp_path, ok=False)
    assert failed.returncode == 1 and "2 jobs failed" in failed.stderr
    assert len(list((tmp_path / "runs").glob("*/run.json"))) == 2


ALONE = ["hydra/launcher=local", "trainer=ddp_cpu", "trainer.devices=2"]


def test_a_job_of_a_launcher_of_processes_is_a_command_of_its_own_or_goes_on_or_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(job_process, "train", commands.append)
    monkeypatch.setenv(job_process.SWEEP, '{"arguments": ["-m", "seed=0,1"], "visible": null}')
    assert one_job(tmp_path, "seed=1", *ALONE) is None
    ((*given, name, group),) = commands
    assert "seed=1" in given and "trainer.devices=2" in given and not list(tmp_path.iterdir())
    # The command trains that job, in the folder where the same sweep looks for it.
    made = checked(*given, name, group)
    run_folder.release(run_folder.create(made, ""))
    assert made["group"].startswith("sweep-") and (tmp_path / made["name"] / "run.json").exists()
    one_job(tmp_path, "seed=1", *ALONE)
    assert commands[1] == [f"resume={tmp_path / made['name']}", *given]
    write_json(tmp_path / made["name"] / "run.json", {"status": "finished"})
    one_job(tmp_path, "seed=1", *ALONE)
    assert len(commands) == 2 and "is finished already" in capsys.readouterr().out
    with pytest.raises(ValueError, match="on one node"):
        one_job(tmp_path, "seed=1", *ALONE, "trainer.num_nodes=2")


def test_a_job_in_its_own_process_tells_its_failure_to_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = composed(*MULTIRUN, *ALONE, f"paths.runs={tmp_path}", return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    (callback,) = (instantiate(node) for node in cfg.hydra.callbacks.values())
    callback.on_multirun_start(cfg)
    with command_line.clear_errors():
        raise ValueError("no room")
    assert command_line._failed == []
    callback.on_multirun_end(cfg)
    ((job_line, reason),) = command_line._failed
    assert "trainer.devices=2" in job_line and reason == "no room"
    assert not list((tmp_path / ".submitit").iterdir())


def test_a_command_that_fails_gives_its_reason_and_is_no_rank_of_the_launcher(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = {"SLURM_NTASKS": "8", "LOCAL_RANK": "1", "SUBMITIT_EXECUTOR": "local"}
    for name, value in {**foreign, "CUDA_VISIBLE_DEVICES": ""}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(job_process.SWEEP, '{"arguments": [], "visible": "0,3"}')
    env = job_process.environment(EXTRA="1")
    assert env["CUDA_VISIBLE_DEVICES"] == "0,3" and env["EXTRA"] == "1"
    assert not env.keys() & (foreign.keys() | {job_process.SWEEP})
    script = tmp_path / "fails.py"
    script.write_text("import sys; print('error: no disk', file=sys.stderr); sys.exit(1)")
    monkeypatch.setattr(job_process, "command", lambda given: [sys.executable, str(script)])
    with pytest.raises(ValueError, match="^no disk$"):
        job_process.train(["seed=1"])
    assert "error: no disk" in capsys.readouterr().err


def test_launchers_that_ship_are_those_of_submitit() -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    kinds = {"local": ("LocalLauncher", 1), "slurm": ("SlurmLauncher", None)}
    for name, (kind, at_once) in kinds.items():
        node = composed(f"hydra/launcher={name}", return_hydra_config=True).hydra
        assert node.launcher._target_.endswith(kind)
        assert node.launcher.tasks_per_node == 1 and "failures" in node.callbacks
        assert node.sweeper.max_batch_size == at_once


@pytest.mark.slow
def test_the_local_launcher_runs_jobs_of_two_processes_and_tells_one_that_fails(
    tmp_path: Path,
) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    sweep = ["-m", *ALONE, *QUICK, "data.batch_size=7777,8", "paths.runs=runs"]
    # Eight processes import everything, one after the other: minutes on a machine that is busy.
    done = run("train.py", *sweep, cwd=tmp_path, ok=False, timeout=3600)
    assert done.returncode == 1 and "error: 1 jobs failed" in done.stderr
    (record,) = (json.loads(path.read_text()) for path in tmp_path.glob("runs/*/run.json"))
    assert (record["status"], record["processes"]) == ("finished", 2)
