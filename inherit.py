"""A method that starts from another run's model: ``method.encoder=runs/NAME``.

It works for every setting that a method annotates with ``Pretrained``, and no method is named here.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only
from torch import nn

import run_folder
from callbacks.checkpoints import AtomicCheckpointIO, read_checkpoint
from config import ConfigError
from functional.state_dicts import misfits
from lightning_modules.pretrained import Pretrained
from schema_check import resolve_target

TARGET = f"{Pretrained.__module__}.{Pretrained.__qualname__}"


def settings(method: dict[str, Any]) -> list[str]:
    """Give the names of the settings of ``method`` that take another run's model."""
    target = resolve_target(method.get("_target_"), "method")
    hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    return [name for name, hint in hints.items() if hint is Pretrained]


def expand(method: dict[str, Any]) -> None:
    """Put the node of ``Pretrained``, with the run's own method, in place of each run folder.

    Raises:
        ConfigError: where what is given is no run folder.
    """
    for name in settings(method):
        given = method.get(name)
        if isinstance(given, str):
            run = run_folder.read(Path(given))
            method[name] = {
                "_target_": TARGET,
                "model": run.config["method"],
                "run": given,
                "checkpoint": "best",
                "weights": run_folder.usual_weights(run.config),
            }
        elif given is None:
            raise ConfigError(f"method.{name} is missing; give a run by method.{name}=runs/NAME")


def load(
    module: nn.Module, method: dict[str, Any], folder: Path | None, load_run: Callable[..., Any]
) -> None:
    """Give ``module`` the weights that its parts begin with.

    Args:
        module: what ``method`` describes.
        method: checked, see :func:`expand`.
        folder: of the new run, where it has one and goes on.
        load_run: ``experiment.load``.

    Raises:
        CheckpointError, ConfigError: where a run has no weights, or others than its configuration.
    """
    for name, node in _inherited(method).items():
        copied = None if folder is None else _copy(folder, name)
        if copied is not None and copied.exists():
            state = read_checkpoint(copied)["state_dict"]
        else:
            run, checkpoint = run_folder.read(Path(node["run"])), node["checkpoint"]
            state = load_run(run.folder, run.config, checkpoint, node["weights"]).state_dict()
        part = module.get_submodule(name)
        told = misfits(part.state_dict(), state)
        if told:
            raise ConfigError(
                f"the weights of {node['run']} do not fit method.{name}.model; {told}. Give "
                f"method.{name}={node['run']}, which takes the model from the run too"
            )
        part.load_state_dict(state)


@rank_zero_only
def keep(module: nn.Module, method: dict[str, Any], folder: Path) -> None:
    """Copy to ``checkpoints/`` of the run's folder what its parts begin with.

    So a run that was stopped before its first checkpoint goes on without the other run.
    """
    for name in _inherited(method):
        copied = _copy(folder, name)
        if not copied.exists():
            state = module.get_submodule(name).state_dict()
            AtomicCheckpointIO().save_checkpoint({"state_dict": state}, copied)


def _inherited(method: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: method[name] for name in settings(method) if method[name].get("run")}


def _copy(folder: Path, name: str) -> Path:
    return folder / "checkpoints" / f"{name}.ckpt"
