"""What sample.py and evaluate.py refuse before any image is made, and what they say they used."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

import evaluate
import experiment
import run_folder
import sample
import use_run
from config import ConfigError
from lightning_modules.base import ImageModule
from metrics.extractors import build_extractor
from tests.command import TINY
from tests.compose import checked, composed


def request(*overrides: str, name: str = "sample") -> dict[str, Any]:
    return use_run.read_request(composed("run=runs/x", *overrides, name=name))


@pytest.mark.parametrize(
    ("override", "words"), [("n=0", "n=0 images"), ("seed=-1", "seed=-1 is negative")]
)
def test_numbers_that_make_no_images_are_refused(override: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        request(override)


@pytest.mark.parametrize("name", ["sample", "evaluate"])
def test_a_place_of_data_that_would_be_ignored_is_no_setting(name: str) -> None:
    with pytest.raises(Exception, match=r"paths\.data"):
        request("paths.data=/new", name=name)


def test_data_that_moved_are_found_where_evaluate_is_told() -> None:
    config = {"data": {"_target_": "datamodules.image_folder.ImageFolder", "folder": "/old"}}
    use_run._apply_data(config, request("data.folder=/new", name="evaluate")["data"])
    assert config["data"]["folder"] == "/new"
    with pytest.raises(ConfigError, match=r"ImageFolder.* has no data\.data_dir"):
        use_run._apply_data(config, request("data.data_dir=/new", name="evaluate")["data"])


GAN = {"_target_": "lightning_modules.gan.GAN", "truncation": None, "n_critic": 1}
DDPM = {"_target_": "lightning_modules.ddpm.DDPM", "sampling": {"steps": 10}}


@pytest.mark.parametrize("name", ["sample", "evaluate"])
def test_a_setting_of_sampling_replaces_the_runs_own(name: str) -> None:
    config = {"method": dict(GAN)}
    asked = request("sampling.truncation=0.7", name=name)["sampling"]
    use_run._apply_sampling(config, asked)
    assert config["method"] == {**GAN, "truncation": 0.7}
    config = {"method": {**DDPM, "sampling": {"steps": 10}}}
    use_run._apply_sampling(config, request("sampling.steps=5", name=name)["sampling"])
    assert config["method"]["sampling"] == {"steps": 5}


@pytest.mark.parametrize(
    ("method", "override", "words"),
    [
        (GAN, "sampling.steps=5", "GAN has no sampling.steps; known: truncation"),
        (GAN, "+sampling.n_critic=5", "GAN has no sampling.n_critic"),
        (DDPM, "sampling.truncation=0.7", "DDPM has no sampling.truncation; known: steps"),
        (
            {"_target_": "lightning_modules.classifier.Classifier"},
            "sampling.steps=5",
            "Classifier has no sampling.steps; it takes none",
        ),
    ],
)
def test_a_setting_of_sampling_that_the_method_has_not_is_refused(
    method: dict[str, Any], override: str, words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        use_run._apply_sampling({"method": dict(method)}, request(override)["sampling"])
    assert words in str(caught.value)


def test_a_run_made_before_raw_scores_can_be_used() -> None:
    config = checked("experiment=quick/gan")
    del config["callbacks"]["generation"]["raw_metrics"]
    experiment.check_plain(config)


@pytest.mark.parametrize(
    ("made_with", "asked", "used"),
    [
        ([], [], "ema"),
        ([], ["weights=raw"], "raw"),
        (["callbacks.ema=null"], [], "raw"),
        (
            ["callbacks.ema=null"],
            ["weights=ema"],
            "without an average; use weights=raw",
        ),
        (["callbacks.ema.decay=0.9"], ["weights=mean"], "weights='mean'; this run has raw, ema"),
    ],
)
def test_the_weights_are_the_average_where_the_run_keeps_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], made_with: list[str], asked: list[str],
    used: str,
) -> None:  # fmt: skip
    config = checked(*TINY, *made_with, f"paths.runs={tmp_path}", "name=run")
    run_folder.release(run_folder.create(config, ""))
    state = experiment.build_module(config).state_dict()
    content = {"state_dict": state, "counters": {"images_seen": 64, "steps": 8}}
    average = {"ema": {"weights": {}}} if config["callbacks"]["ema"] else {}
    (tmp_path / "run" / "checkpoints").mkdir()
    torch.save({**content, **average}, tmp_path / "run" / "checkpoints" / "last.ckpt")
    cfg = composed(
        f"run={tmp_path / 'run'}", "n=2", f"output={tmp_path / 'x.npz'}", "trainer=cpu", *asked,
        name="sample",
    )  # fmt: skip
    if "weights=" in used or "use weights" in used:
        with pytest.raises(ValueError, match=used):
            sample.sample(cfg)
        return
    sample.sample(cfg)
    assert f"last checkpoint, {used} weights, 64 images seen" in capsys.readouterr().out


# Outputs


def test_an_output_may_be_the_folder_one_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    module = SimpleNamespace(capabilities={"sample"})
    about = SimpleNamespace(is_global_zero=True)
    run = SimpleNamespace(fabric=about, about="", content="images", module=module)
    monkeypatch.setattr(use_run, "open_run", lambda cfg: run)
    monkeypatch.setattr(sample, "generate", lambda run: torch.zeros(2, 1, 4, 4, dtype=torch.uint8))
    sample.sample(composed("run=runs/x", "n=2", "output=.", name="sample"))
    assert sorted(path.name for path in tmp_path.rglob("*.png")) == [
        "000000.png", "000001.png", "here_grid.png"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("there", "output", "words"),
    [
        ("images.npz/", "images.npz", "is a folder already"),
        ("images", "images", "is a file already"),
        ("file", "file/images", "cannot write to"),
        ("", "images.png", "ends in .npz"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_before_sampling(
    tmp_path: Path, there: str, output: str, words: str
) -> None:
    if there.endswith("/"):
        (tmp_path / there).mkdir()
    elif there:
        (tmp_path / there).touch()
    with pytest.raises(ConfigError, match=words):
        sample.check_output(tmp_path / output, 4)


def test_images_of_an_earlier_call_never_stay_among_the_new_ones(tmp_path: Path) -> None:
    for i in range(4):
        Image.new("L", (2, 2)).save(tmp_path / f"{i:06d}.png")
    with pytest.raises(ConfigError, match="up to number 3"):
        sample.check_output(tmp_path, 3)
    sample.check_output(tmp_path, 4)


# Evaluations


def in_use(folder: Path, **asked: Any) -> Any:
    module = SimpleNamespace(capabilities={"sample"}, ema_modules=("network",))
    wanted = {"n": 10, "reference": None, **asked}
    return SimpleNamespace(content="images", folder=folder, module=module, asked=wanted)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"metrics": []}, "no metric"),
        ({"metrics": ["fdi"]}, "did you mean 'fid'"),
        ({"metrics": ["fid"], "n": 1}, "give 2 or more"),
        ({"metrics": ["fid", "recall"], "n": 3}, "give 4 or more"),
        ({"metrics": ["coverage"], "n": 5}, "give 6 or more"),
    ],
)
def test_metrics_that_cannot_be_had_are_refused_before_sampling(
    tmp_path: Path, asked: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        evaluate.check_request(in_use(tmp_path, **asked), build_extractor("fmnist_cnn"))


def test_a_method_that_cannot_sample_is_refused_before_its_data_are_read(tmp_path: Path) -> None:
    run = in_use(tmp_path, metrics=["fid"])
    run.module = SimpleNamespace(capabilities={"features"}, lacking=ImageModule().lacking)
    with pytest.raises(ConfigError, match="ImageModule cannot sample from noise"):
        evaluate.check_images(run)


@pytest.mark.parametrize("text", ["{", "[]", '{"evaluations": [1]}'])
def test_a_damaged_file_of_evaluations_is_named_before_sampling(tmp_path: Path, text: str) -> None:
    (tmp_path / "evaluation.json").write_text(text)
    with pytest.raises(ConfigError, match=r"evaluation\.json is damaged"):
        evaluate.check_writable(tmp_path / "evaluation.json")


def test_an_evaluation_replaces_its_like_alone(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    entry = {"protocol_id": "a", "checkpoint": "best", "images_seen": 8, "scores": 1}
    for new in (entry, {**entry, "checkpoint": "last"}, {**entry, "scores": 2}):
        evaluate.add_entry(path, new)
    entries = json.loads(path.read_text())["evaluations"]
    assert [(e["checkpoint"], e["scores"]) for e in entries] == [("last", 1), ("best", 2)]


def test_where_there_is_no_best_checkpoint_the_record_says_last(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    assert run_folder.checkpoint_name(tmp_path, "best") == "last"
    (tmp_path / "checkpoints" / "best.ckpt").touch()
    assert run_folder.checkpoint_name(tmp_path, "best") == "best"
    assert run_folder.checkpoint_name(tmp_path, "other.ckpt") == "other.ckpt"
