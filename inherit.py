"""A method that starts from another run's model: ``method.encoder=runs/NAME``.

It works for every setting that a method annotates with ``Pretrained``, and no method is named here.
"""

from __future__ import annotations

import inspect
import typing
from pathlib import Path
from typing import Any

from torch import Tensor

import run_folder
from callbacks.checkpoints import AtomicCheckpointIO, read_checkpoint
from config import ConfigError
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


def weights(
    cfg: dict[str, Any], folder: Path, load: typing.Callable[..., Any]
) -> dict[str, dict[str, Tensor]]:
    """Give the weights that the parts of a new run begin with, by the name of the setting.

    They are copied to ``checkpoints/`` of the run's folder, so that a run that was stopped before
    its first checkpoint goes on without the other run.

    Args:
        cfg: checked configuration of the new run.
        folder: its run folder.
        load: ``experiment.load``.
    """
    found = {}
    for name in settings(cfg["method"]):
        node = cfg["method"][name]
        if not node.get("run"):
            continue
        copied = folder / "checkpoints" / f"{name}.ckpt"
        if not copied.exists():
            run, checkpoint = run_folder.read(Path(node["run"])), node["checkpoint"]
            state = load(run.folder, run.config, checkpoint, node["weights"]).state_dict()
            AtomicCheckpointIO().save_checkpoint({"state_dict": state}, copied)
        found[name] = read_checkpoint(copied)["state_dict"]
    return found
