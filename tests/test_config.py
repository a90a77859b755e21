"""What ships composes, and every mistake in a configuration is refused with a line that helps."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import command_line
import experiment
from tests.command import ROOT
from tests.compose import checked, composed, experiment_file, refusal

CONF = ROOT / "conf"
GROUPS = ["method", "data", "trainer", "callbacks", "logger", "optimizer", "debug"]
CHOICES = [(group, path.stem) for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]


# What ships


def test_nothing_chosen_is_the_quick_start() -> None:
    assert checked() == checked("experiment=quick/ddpm")


def test_the_paper_baseline_is_the_network_of_the_paper() -> None:
    module: Any = experiment.build_module(checked("experiment=paper/ddpm_cifar10"))
    assert sum(p.numel() for p in module.network.parameters()) == 35_746_307
    assert module.sampling_record() == {
        "sampler": "ancestral, fixed_large", "spacing": "trailing", "nfe": 1000, "eta": None,
        "guidance": None,
        "prediction": "eps",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "key", "nearest"),
    [
        (["method=gan"], "method.n_critik", "n_critic"),
        (["method=mae", "data=fake"], "method.mask_rato", "mask_ratio"),
        (["experiment=quick/gan,quick/ddpm"], "method.generator.widht", "width"),
    ],
)
def test_the_nearest_key_is_one_of_what_was_chosen(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], key: str, nearest: str
) -> None:
    monkeypatch.setattr("sys.argv", ["train.py", *arguments, f"{key}=1"])
    assert f"did you mean {nearest!r}" in command_line._nearest_key(key)


def test_an_average_of_a_method_that_names_no_modules_is_refused() -> None:
    cfg = checked("method=mae", "data=fake", "callbacks.ema={_target_:callbacks.ema.EMA,decay:0.9}")
    with pytest.raises(ValueError, match="MAE keeps no average of weights; set callbacks"):
        experiment.prepare(cfg)


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_choice_of_every_group_is_valid(group: str, choice: str) -> None:
    key = {"optimizer": "optimizer@method.optimizer"}.get(group, group)
    more = ["data.folder=somewhere"] if choice == "image_folder" else []
    assert checked(f"{key}={choice}", *more).keys() == checked().keys()


@pytest.mark.parametrize("name", ["sample", "evaluate"])
def test_the_other_commands_compose(name: str) -> None:
    assert composed("run=somewhere", name=name).run == "somewhere"


def test_callbacks_none_leaves_out_what_a_method_adjusts() -> None:
    assert checked("callbacks=none")["callbacks"].keys() == {"budget", "record", "checkpoints"}
    assert checked("callbacks.ema=null")["callbacks"]["ema"] is None


@pytest.mark.parametrize(("method", "wanted"), [("gan", True), ("ddpm", False)])
def test_a_method_says_what_it_needs_of_many_processes(method: str, wanted: bool) -> None:
    gpus, cpus = (
        checked(f"method={method}", f"trainer={t}")["trainer"] for t in ("ddp", "ddp_cpu")
    )
    assert gpus["strategy"]["find_unused_parameters"] is wanted
    assert cpus["strategy"]["find_unused_parameters"] is wanted
    assert gpus["sync_batchnorm"] is wanted
    assert "sync_batchnorm" not in cpus  # torch has it on GPUs alone


@pytest.mark.parametrize("name", ["sample", "evaluate"])
def test_the_other_commands_run_on_many_processes(name: str) -> None:
    trainer = composed("run=somewhere", "trainer=ddp", name=name).trainer
    assert trainer.sync_batchnorm is trainer.strategy.find_unused_parameters is False


def test_the_data_tell_the_model_its_shape() -> None:
    config = checked("data=cifar10", "data.image_size=24")
    network = config["method"]["network"]
    assert (network["in_channels"], network["image_size"]) == (3, 24)
    assert config["method"]["image_size"] == 24


@pytest.mark.parametrize("seed", [0, 7])
def test_any_seed_is_a_seed_of_data_and_weights(seed: int) -> None:
    config = checked(f"seed={seed}", "method.network.channels=16")
    assert config["data"]["seed"] == config["seed"] == seed
    one, other = experiment.build_module(config), experiment.build_module(config)
    for ours, theirs in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_automatic_precision_is_resolved_before_it_is_recorded() -> None:
    assert checked()["trainer"]["precision"] in ("bf16-mixed", "32-true")
    assert checked("trainer.precision=32-true")["trainer"]["precision"] == "32-true"


@pytest.mark.parametrize("devices", ["2", "[0,1]", "auto"])
def test_devices_may_be_a_number_a_list_or_a_word(devices: str) -> None:
    assert checked(f"trainer.devices={devices}")["trainer"]["devices"] == yaml.safe_load(devices)


# Mistakes in an experiment file


@pytest.mark.parametrize(
    ("text", "key", "nearest"),
    [
        ("sed: 1", "sed", "seed"),
        ("validate_every_image: 5", "validate_every_image", "validate_every_images"),
        ("bugdet: {steps: 1}", "bugdet", "budget"),
        ("budget: {imags: 1}", "budget.imags", "images"),
        ("paths: {run: x}", "paths.run", "runs"),
        ("data: {batchsize: 3}", "data.batchsize", "batch_size"),
        ("trainer: {gradient_clip: 1}", "trainer.gradient_clip", "gradient_clip_val"),
        ("logger: {projekt: x}", "logger.projekt", "project"),
        ("method: {warmup: 3}", "method.warmup", "warmup_steps"),
        ("method: {netwrk: {channels: 3}}", "method.netwrk", "network"),
        ("method: {network: {chanels: 3}}", "method.network.chanels", "channels"),
        ("method: {sampling: {step: 3}}", "method.sampling.step", "steps"),
        ("method: {optimizer: {adam_l: 3}}", "method.optimizer.adam_l", "adam_lr"),
        ("callbacks: {ema: {decy: 0.9}}", "callbacks.ema.decy", "decay"),
        ("callbacks: {emma: {decay: 0.9}}", "callbacks.emma", "ema"),
    ],
)
def test_a_misspelt_key_is_refused_with_the_nearest_one(
    tmp_path: Path, text: str, key: str, nearest: str
) -> None:
    line = refusal(*experiment_file(tmp_path, text))
    assert "unknown" in line and f" {key};" in line
    assert f"did you mean '{nearest}'?" in line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("budget: {steps: abc}", ["budget.steps", "'abc'", "Integer"]),
        ("seed: x", ["seed", "'x'", "Integer"]),
        ("tags: x", ["tags", "list"]),
        ("method: {warmup_steps: 1.5}", ["method.warmup_steps=1.5", "float; expected int"]),
        ("method: {network: {multipliers: 2}}", ["multipliers=2", "expected", "Sequence[int]"]),
        ("method: {network: {multipliers: [1, x]}}", ["multipliers=[1, 'x']", "Sequence[int]"]),
        ("method: {network: {scale_shift: 3}}", ["scale_shift=3", "expected bool"]),
        ("method: {network: {channels: true}}", ["channels=True", "expected int"]),
        ("method: {schedule: linear}", ["method.schedule='linear'", "expected NoiseSchedule"]),
        ("method: {optimizer: adam}", ["method.optimizer='adam'", "expected"]),
        ("method: {optimizer: {lr: fast}}", ["method.optimizer.lr='fast'", "expected float"]),
        ("data: {batch_size: big}", ["data.batch_size='big'", "expected int"]),
        ("callbacks: {ema: false}", ["callbacks.ema=False", "null"]),
        ("callbacks: {generation: {metrics: fid}}", ["metrics='fid'", "expected list[str]"]),
        ("trainer: {accelerator: 3}", ["trainer.accelerator=3"]),
        ("seed: [1", ["mine.yaml", "line 2"]),
        ("defaults: [override /method: gann]", ["no method 'gann'"]),
        ("seed: ${sed}", ["'sed' not found"]),
    ],
)
def test_a_wrong_value_is_refused_with_what_was_expected(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    line = refusal(*experiment_file(tmp_path, text))
    assert all(word in line for word in words), line


# Mistakes on the command line


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("method=dppm", ["no method 'dppm'", "'ddpm'"]),
        ("data=cifar", ["no data 'cifar'", "'cifar10'"]),
        ("experiment=quick/dpm", ["no experiment 'quick/dpm'", "'quick/ddpm'"]),
        ("experiment=paper/ddpm_cifa10", ["'paper/ddpm_cifar10'"]),
        ("debug=fats", ["no debug 'fats'", "'fast'"]),
        ("bugdet.steps=3", ["unknown key bugdet.steps", "'budget'"]),
        ("method.network.chanels=3", ["unknown key method.network.chanels", "'channels'"]),
        ("budget.steps=abc", ["budget.steps", "'abc'"]),
        ("seed=x", ["seed", "'x'", "Integer"]),
        ("data=image_folder", ["data.folder", "issing"]),
        ("seed", ["'seed'"]),
        ("+trainer.max_epochs=3", ["trainer.max_epochs", "use budget.images"]),
        ("+trainer.max_steps=3", ["trainer.max_steps", "use budget.steps"]),
        ("+trainer.logger=false", ["trainer.logger", "use logger=CHOICE"]),
        ("+trainer.fast_dev_run=true", ["trainer.fast_dev_run", "use debug=fast"]),
        ("+trainer.val_check_interval=5", ["val_check_interval", "use validate_every_images"]),
        ("validate_every_images=0", ["validate_every_images=0", "1 or more"]),
        ("trainer.precision=half", ["trainer.precision=half", "use auto, 32-true"]),
        ("trainer.precision=bf16-true", ["trainer.precision=bf16-true", "or bf16-mixed"]),
    ],
)
def test_a_wrong_command_line_is_refused_with_the_nearest_right_one(
    override: str, words: list[str]
) -> None:
    line = refusal(override)
    assert all(word in line for word in words), line


def test_whatever_the_platform_tells_the_trainer_is_refused_as_a_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(experiment, "make", lambda node, **own: given.update(own))
    plain = checked("callbacks=none", "logger=none")
    experiment.build_trainer({**plain, "callbacks": {}}, tmp_path, "id")
    assert given.keys() <= experiment.TRAINER_KEYS.keys()


def test_a_cpu_has_no_float16_to_train_in() -> None:
    assert "trainer.precision=16" in refusal("trainer=cpu", "trainer.precision=16")
    assert checked("trainer=cpu", "trainer.precision=32")["trainer"]["precision"] == "32-true"


@pytest.mark.parametrize("choice", ["none", "csv", "tensorboard", "wandb"])
def test_a_quick_look_goes_with_every_logger_and_asks_no_server_by_default(choice: str) -> None:
    chosen = checked("debug=fast", f"logger={choice}")["logger"]
    assert chosen == checked(f"logger={choice}")["logger"]
    assert checked("debug=fast")["logger"]["mode"] == "offline"


# Help


def test_help_lists_every_group_with_its_choices_in_under_four_seconds(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, ROOT / "train.py", "--help"]
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Time of this process alone: the machine may be busy with others.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 4
    for group in {"experiment", "experiment/quick", "experiment/paper", *GROUPS}:
        line = next(text for text in printed.splitlines() if text.startswith(f"{group}: "))
        shipped = {path.stem for path in (CONF / group).glob("*.yaml")}
        assert shipped <= set(line.removeprefix(f"{group}: ").split(", "))
    assert "python train.py experiment=" in printed and "resume=" in printed
    assert not list(tmp_path.iterdir())
