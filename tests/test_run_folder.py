"""A run folder: one per run, found again, moved, and resumed without a change of settings."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import run_folder
import summary
import train
from config import ConfigError
from run_folder import FOLDER_VARIABLE
from tests.command import TINY
from tests.compose import checked, composed, job


@pytest.fixture(autouse=True)
def no_run_of_an_outer_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in (FOLDER_VARIABLE, "TORCHELASTIC_RUN_ID", "RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    yield
    os.environ.pop(FOLDER_VARIABLE, None)


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    return checked(*TINY, f"paths.runs={tmp_path / 'runs'}", "name=one")


def test_a_new_run_has_its_settings_and_where_it_comes_from(config: dict[str, Any]) -> None:
    run = run_folder.create(config, "title")
    assert run.folder.name == "one"
    again = run_folder.read(run.folder)
    assert (again.config, again.id) == (config, run.id)
    record = json.loads((run.folder / "run.json").read_text())
    assert (record["status"], record["seed"], record["method"]) == ("starting", 0, "DDPM")
    assert record["versions"].keys() >= {"python", "torch", "lightning"}
    run_folder.release(run)


def test_a_name_that_is_taken_is_refused_and_a_made_up_one_is_counted_up(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_folder.time, "strftime", lambda *_: "now")
    run_folder.release(run_folder.create(config, "title"))
    with pytest.raises(ConfigError, match=r"one exists; go on with it by resume="):
        run_folder.create(config, "title")
    names = []
    for _ in range(3):
        run = run_folder.create({**config, "name": None}, "title")
        names.append(run.folder.name)
        run_folder.release(run)
    assert names == ["title-now", "title-now-2", "title-now-3"]


def test_processes_of_one_run_share_a_folder_and_jobs_of_a_sweep_do_not(
    config: dict[str, Any],
) -> None:
    first = run_folder.create({**config, "name": None}, "title")
    joined = run_folder.create({**config, "name": None}, "title")
    assert (joined.folder, joined.id) == (first.folder.resolve(), first.id)
    run_folder.release(joined)
    assert FOLDER_VARIABLE in os.environ, "only the process that made the folder lets go of it"
    run_folder.release(first)
    second = run_folder.create({**config, "name": None}, "title")
    assert second.folder != first.folder
    run_folder.release(second)


def test_two_trainings_in_one_process_are_two_runs_with_their_own_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = [override for override in TINY if "callbacks" not in override]
    for seed in (1, 2):
        cfg = job(
            *tiny, f"seed={seed}", f"name=run{seed}", "budget.steps=2", "callbacks=none",
            f"paths.runs={tmp_path}",
        )  # fmt: skip
        train.train(cfg)
    for seed in (1, 2):
        record = json.loads((tmp_path / f"run{seed}" / "run.json").read_text())
        assert (record["seed"], record["status"]) == (seed, "finished")
        assert run_folder.read(tmp_path / f"run{seed}").config["seed"] == seed
    assert FOLDER_VARIABLE not in os.environ


def test_a_folder_in_use_is_refused(config: dict[str, Any]) -> None:
    run = run_folder.create(config, "title")
    del os.environ[FOLDER_VARIABLE]
    with pytest.raises(ConfigError, match="another process trains in"):
        run_folder.resume(run.folder, config, [])
    run_folder.release(run)
    again = run_folder.resume(run.folder, config, [])
    assert (again.id, again.checkpoint) == (run.id, None)
    run_folder.release(again)


def test_nothing_in_a_folder_names_the_place_where_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = run_folder.create(checked(*TINY, "name=one", "paths.runs=runs"), "title")
    run_folder.release(run)
    for file in run.folder.iterdir():
        assert str(tmp_path) not in file.read_text()
    moved = (tmp_path / "runs").rename(tmp_path / "elsewhere") / "one"
    assert run_folder.read(moved).config == run.config


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("config.yaml", None, "no config.yaml"),
        ("run.json", None, "no run.json"),
        ("config.yaml", "a: [1", "cannot be read"),
        ("config.yaml", "- 1\n- 2", "no configuration of a run"),
        ("config.yaml", "seed: 1", "no configuration of a run"),
        ("run.json", "{", "cannot be read"),
    ],
)
def test_half_a_run_folder_is_named(
    config: dict[str, Any], file: str, text: str | None, words: str
) -> None:
    run = run_folder.create(config, "title")
    run_folder.release(run)
    path = run.folder / file
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        run_folder.read(run.folder)
    assert "\n" not in str(caught.value)


GAN = ["method=gan", "data=fake", "data.image_size=8", "method.generator.width=4", "logger=none"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["method.micro_batches=3"], "32 images does not divide into method.micro_batches=3"),
        (["method.generator.num_classes=3"], "num_classes=3"),
        (["trainer.gradient_clip_val=1.0"], "method.gradient_clip=1.0"),
        (["trainer=ddp_cpu", "trainer.devices=3"], "not divisible by 3 processes"),
        (["callbacks.generation.n=1"], "n=1"),
        (["data.image_size=9"], "image_size 9"),
    ],
)
def test_what_does_not_fit_is_refused_before_there_is_a_folder(
    tmp_path: Path, overrides: list[str], words: str
) -> None:
    with pytest.raises(Exception, match=words):
        train.train(job(*GAN, *overrides, f"paths.runs={tmp_path / 'runs'}"))
    assert not (tmp_path / "runs").exists()
    assert FOLDER_VARIABLE not in os.environ


def test_a_resume_that_is_refused_lets_go_of_the_folder(config: dict[str, Any]) -> None:
    run = run_folder.create(config, "title")
    run_folder.release(run)
    with pytest.raises(ValueError, match="not divisible by 3"):
        train.train(job(f"resume={run.folder}", "trainer=ddp_cpu", "trainer.devices=3"))
    run_folder.release(run_folder.resume(run.folder, config, []))


def test_settings_of_a_resume_hold_for_the_next_one(config: dict[str, Any]) -> None:
    run = run_folder.create(config, "title")
    run_folder.release(run)
    asked = {**config, "budget": {**config["budget"], "steps": 40}}
    again = run_folder.resume(run.folder, asked, ["budget.steps=40"])
    run_folder.save_config(again)
    run_folder.release(again)
    saved = run_folder.read(run.folder).config
    assert saved["budget"]["steps"] == saved["callbacks"]["budget"]["steps"] == 40
    assert not [path for path in run.folder.iterdir() if path.name.endswith(".partial")]


@pytest.mark.parametrize("name", ["plain", "two words", "lr=0.1,b", "it's", "ünï"])
def test_the_commands_at_the_end_can_be_typed_whatever_the_name(name: str) -> None:
    (argument,) = shlex.split(summary.setting("run", Path("runs") / name))
    assert composed(argument, name="sample").run == f"runs/{name}"
