"""Composing the shipped configuration in this process, as the commands do."""

from __future__ import annotations

import contextlib
import copy
import warnings
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict

import command_line
import experiment
from config import register
from tests.command import ROOT


def composed(*overrides: str, name: str = "train", **options: Any) -> DictConfig:
    """The configuration of a command line, not yet checked."""
    # What ships does not change while tests run; Hydra takes a third of a second for it.
    return copy.deepcopy(_composed(*overrides, name=name, **options))


@cache
def _composed(*overrides: str, name: str, **options: Any) -> DictConfig:
    register()
    GlobalHydra.instance().clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            return compose(name, overrides=list(overrides), **options)


def job(*overrides: str) -> DictConfig:
    """The configuration of a command line, and Hydra's own, as ``train.train`` finds them."""
    cfg = composed(*overrides, return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg


def checked(*overrides: str) -> dict[str, Any]:
    """The checked and resolved configuration of a command line."""
    return experiment.check(composed(*overrides))


def refusal(*overrides: str) -> str:
    """The one line with which a command line is refused."""
    with pytest.raises(Exception) as caught:
        checked(*overrides)
    assert command_line.is_mistake(caught.value), f"it would show a traceback: {caught.value!r}"
    line = command_line.one_line(caught.value)
    assert "\n" not in line
    return line


def trained(place: Path, *overrides: str) -> None:
    """Train what a command line called in ``place`` says, without a process of its own."""
    with contextlib.chdir(place):
        import_module("train").train(job(*command_line.for_the_resumed_run(list(overrides))))


def refused(script: str, *arguments: str) -> str:
    """The one line with which a command refuses ``arguments``, without a process of its own."""
    given, name = command_line.for_the_resumed_run(list(arguments)), script.removesuffix(".py")
    cfg = job(*given) if name == "train" else composed(*given, name=name)
    command = getattr(import_module(name), name)
    with pytest.raises(Exception) as caught:
        command(cfg)
    assert command_line.is_mistake(caught.value), f"it would show a traceback: {caught.value!r}"
    line = command_line.one_line(caught.value)
    assert "\n" not in line
    return line


def experiment_file(folder: Path, text: str) -> list[str]:
    """Write an experiment file of a user; give the command line that chooses it."""
    (folder / "experiment").mkdir()
    (folder / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{text}\n")
    return [f"hydra.searchpath=[file://{folder}]", "experiment=mine"]
