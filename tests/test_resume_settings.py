"""What a resume may change of a run's settings, and what it may not."""

from __future__ import annotations

from typing import Any

import pytest

import command_line
import experiment
from config import ConfigError
from resume_settings import merged
from tests.compose import checked, composed
from tests.test_run_folder import GAN


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (
            "method.n_critc=3",
            "unknown key method.n_critc of the run's GAN; did you mean 'n_c",
        ),
        ("method.generator.widht=3", "of the run's GAN; did you mean 'width'"),
        ("+method.network.channels=8", "unknown key method.network.channels of the run's GAN"),
        ("method.n_critic=3", "resume refused, settings changed: method.n_critic: 1 -> 3"),
        ("data.siez=3", "unknown key data.siez of the run's Fake; did you mean 'size'"),
        ("data.size=3", "data.size: 512 -> 3"),
    ],
)
def test_a_resume_knows_the_settings_of_the_runs_own_method_and_data(
    override: str, words: str
) -> None:
    arguments = command_line.for_the_resumed_run(["resume=runs/x", override])
    with pytest.raises(ConfigError) as caught:
        merged(checked(*GAN), experiment.resolve(composed(*arguments)), arguments)
    assert words in str(caught.value)


def test_a_resume_finds_images_that_moved_without_naming_the_data() -> None:
    arguments = command_line.for_the_resumed_run(["resume=runs/x", "data.folder=/new", "seed=0"])
    saved = checked("data=image_folder", "data.folder=/old", "data.num_classes=0")
    config = merged(saved, experiment.resolve(composed(*arguments)), arguments)
    assert config["data"] == {**saved["data"], "folder": "/new"}


def test_other_commands_keep_their_arguments() -> None:
    arguments = ["method.width=3", "data.size=3"]
    assert command_line.for_the_resumed_run(arguments) == arguments


def after(*overrides: str, made_with: tuple[str, ...] = ()) -> dict[str, Any]:
    """The settings with which a run made with ``made_with`` goes on under ``overrides``."""
    return merged(checked(*made_with), checked(*overrides), list(overrides))


def test_a_resume_without_settings_goes_on_as_before() -> None:
    made_with = ("budget.steps=9", "method.network.channels=16", "logger=none", "data=fake")
    assert after(made_with=made_with) == checked(*made_with)


def test_changed_settings_are_refused_and_all_listed() -> None:
    with pytest.raises(ConfigError) as caught:
        after("seed=3", "method.warmup_steps=7", "data.batch_size=32", "budget.steps=5")
    line = str(caught.value)
    for difference in (
        "seed: 0 -> 3", "method.warmup_steps: 100 -> 7", "data.batch_size: 64 -> 32"
    ):  # fmt: skip
        assert difference in line
    assert "budget" not in line and "Start a new run" in line


def without(saved: dict[str, Any], *path: str) -> dict[str, Any]:
    """``saved`` as of a time when there was no such key."""
    node = saved
    for part in path[:-1]:
        node = node[part]
    del node[path[-1]]
    return saved


@pytest.mark.parametrize(
    ("path", "override"),
    [
        (("method", "restoring"), "method.restoring.steps=7"),
        (("method", "restoring", "data_std"), "method.restoring.data_std=0.4"),
        (("method", "self_conditioning"), "method.self_conditioning=0.5"),
        (("method", "pairing"), "method.pairing._target_=functional.pairing.OptimalTransport"),
    ],
)
def test_a_key_of_later_times_is_no_change_where_it_is_what_the_run_goes_by(
    path: tuple[str, ...], override: str
) -> None:
    again = ["experiment=quick/ddpm"]
    saved = without(checked(), *path)
    assert merged(saved, checked(*again), again) == saved
    with pytest.raises(ConfigError, match="resume refused, settings changed: "):
        merged(saved, checked(*again, "++" + override), again)


@pytest.mark.parametrize(
    "override",
    [
        "data=mnist", "callbacks=none", "~callbacks.ema", "experiment=paper/ddpm_cifar10",
        "optimizer@method.optimizer=adam", "++method.network.group_size=8", "debug=overfit",
    ],
)  # fmt: skip
def test_a_changed_group_is_refused(override: str) -> None:
    with pytest.raises(ConfigError, match="resume refused"):
        after(override)


def test_the_same_settings_again_are_no_change() -> None:
    same = ("experiment=quick/ddpm", "seed=0", "method.warmup_steps=100")
    assert after(*same) == checked()


def test_a_budget_changes_where_it_is_asked_to_and_stays_the_runs_own_elsewhere() -> None:
    made_with = ("budget.images=null", "budget.steps=20", "budget.minutes=null")
    config = after("budget.steps=40", made_with=made_with)
    assert config["budget"] == {"images": None, "steps": 40, "minutes": None}
    budget = dict(config["callbacks"]["budget"])
    assert budget.pop("_target_") == "callbacks.budget.Budget"
    assert budget == config["budget"]


def test_where_a_run_computes_may_change() -> None:
    config = after("trainer=ddp_cpu", "trainer.devices=2")
    assert config["trainer"]["devices"] == 2
    assert config["trainer"]["strategy"]["process_group_backend"] == "gloo"
    back = merged(config, checked("trainer=cpu"), ["trainer=cpu"])
    assert (back["trainer"]["strategy"], back["trainer"]["devices"]) == ("auto", 1)


def test_a_logger_may_change_as_a_whole_or_in_part() -> None:
    assert after("logger=csv")["logger"] == checked("logger=csv")["logger"]
    made_with = ("logger.project=mine",)
    config = after("logger.mode=offline", made_with=made_with)
    assert (config["logger"]["project"], config["logger"]["mode"]) == ("mine", "offline")


def test_a_cache_on_another_machine_reaches_those_that_use_it() -> None:
    config = after("paths.cache=/new", made_with=("paths.cache=/old", "paths.data=/kept"))
    assert config["paths"]["cache"] == config["callbacks"]["generation"]["cache"] == "/new"
    assert config["paths"]["data"] == "/kept"
    assert after("paths.cache=/new", made_with=("callbacks=none",))["paths"]["cache"] == "/new"


@pytest.mark.parametrize("left_out", ["generation", "ema", "progress"])
def test_a_run_that_left_a_callback_out_goes_on_without_it(left_out: str) -> None:
    made_with = (f"callbacks.{left_out}=null",)
    config = after("budget.images=9", "paths.cache=/new", made_with=made_with)
    assert config["callbacks"][left_out] is None
    assert config["callbacks"]["budget"]["images"] == 9
    with pytest.raises(ConfigError, match="resume refused"):
        after("callbacks.generation.cache=/x", made_with=("callbacks.generation=null",))


def test_images_that_moved_are_found_again() -> None:
    made_with = ("data=image_folder", "data.folder=/old")
    config = merged(
        checked(*made_with),
        checked("data=image_folder", "data.folder=/new"),
        ["data.folder=/new", "data.num_workers=1"],
    )
    assert config["data"]["folder"] == "/new"
