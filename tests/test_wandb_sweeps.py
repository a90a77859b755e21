"""Sweeps for ``wandb sweep``: what an agent would call composes, for every experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from metrics.keys import parse_key
from tests.command import ROOT
from tests.compose import checked

FILES = sorted((ROOT / "sweeps").glob("*.yaml"))


def values(parameter: dict[str, Any]) -> list[Any]:
    """The values of a parameter, or the ends of its range."""
    if "value" in parameter:
        return [parameter["value"]]
    return list(parameter.get("values") or (parameter["min"], parameter["max"]))


def commands(parameters: dict[str, Any]) -> list[list[str]]:
    """Arguments as ${args_no_hyphens} gives them: of all first values, and each experiment."""
    first = {key: values(parameter)[0] for key, parameter in parameters.items()}
    found = [{**first, "experiment": value} for value in values(parameters["experiment"])]
    return [[f"{key}={value}" for key, value in given.items()] for given in found]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_experiment_composes_with_its_parameters(path: Path) -> None:
    sweep = yaml.safe_load(path.read_text())
    assert (ROOT / sweep["program"]).exists()
    assert sweep["command"] == ["${env}", "python", "${program}", "${args_no_hyphens}"]
    told: list[dict[str, Any]] = []
    for command in commands(sweep["parameters"]):
        config = checked(*command)
        assert any(config["budget"].values())
        told.append(config)
    key = parse_key(sweep["metric"]["name"])
    if key.track != "gen":
        assert (key.track, key.metric) == ("val", "loss")
        return
    for config in told:
        tracker = config["callbacks"]["generation"]
        features = f"{tracker['extractor']}@{tracker['n'] // 1000}k"
        assert (key.metric, key.features) == ("fid", features)


def test_values_of_one_parameter_are_of_one_kind() -> None:
    for path in FILES:
        for key, parameter in yaml.safe_load(path.read_text())["parameters"].items():
            assert len({type(value) for value in values(parameter)}) == 1, (path, key)


def test_there_is_a_search_for_each_method_and_one_at_equal_images_and_minutes() -> None:
    names = {path.stem for path in FILES}
    assert {"ddpm_lr", "gan_lr", "mae_lr", "dae_lr"} < names
    assert {"methods_at_equal_images", "methods_at_equal_minutes"} < names
