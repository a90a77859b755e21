"""A trained run in use, in one process or many: what ``sample.py`` and ``evaluate.py`` share."""

from __future__ import annotations

import copy
import inspect
import typing
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hydra.errors import InstantiationException
from lightning import Fabric
from omegaconf import DictConfig, OmegaConf

import command_line
import experiment
import run_folder
from config import ConfigError, nearest
from functional.hardware import precision
from lightning_modules.base import ImageModule
from schema_check import resolve_target

# Images, or of a task on given images the results of each.
USUAL_N = defaultdict(lambda: 1, evaluate=10_000, generate=64, interpolate=2)


NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass
class RunInUse:
    """A run's model on this process's device, and the processes that share the work."""

    folder: Path
    config: dict[str, Any]
    module: ImageModule
    fabric: Fabric
    asked: dict[str, Any]

    @property
    def about(self) -> str:
        """Which weights are used, for a person to read."""
        name = run_folder.checkpoint_name(self.folder, self.asked["checkpoint"])
        seen = f"{self.module.images_seen:,} images seen"
        return f"{name} checkpoint, {self.asked['weights']} weights, {seen}"

    @property
    def content(self) -> str:
        """What the run's data hold, as they declare it: "images" or "points"."""
        return str(getattr(resolve_target(self.config["data"]["_target_"], "data"), "content", ""))

    def variant(
        self, sampling: Mapping[str, Any], weights: str, restoring: Mapping[str, Any] = NONE
    ) -> ImageModule:
        """Give the model again, with other settings of sampling or restoring, other weights.

        Raises:
            ValueError: for settings that the method has not, or that contradict each other.
        """
        config = copy.deepcopy(self.config)
        _apply_sampling(config, dict(sampling))
        _apply_restoring(config, dict(restoring))
        experiment.check_plain(config)
        try:
            module = experiment.load(self.folder, config, self.asked["checkpoint"], weights)
        except InstantiationException as error:
            raise ConfigError(command_line.one_line(error)) from error
        return module.to(self.fabric.device)

    def steps(self, capability: str) -> int | None:
        """Give in how many steps the method does it; None where that is no setting of it."""
        if capability == "restore":
            return getattr(self.module.restoring, "steps", None)
        method = self.config["method"]
        target = resolve_target(method["_target_"], "method")
        named = "steps" in getattr(target, "sampling_settings", ())
        found = (method if named else method.get("sampling") or {}).get("steps")
        return found if isinstance(found, int) else None

    @property
    def share(self) -> tuple[int, int]:
        """(rank, number of processes)."""
        return self.fabric.global_rank, self.fabric.world_size


def open_run(cfg: DictConfig) -> RunInUse:
    """Check everything, load the weights, and start the processes that ``cfg.trainer`` asks for."""
    asked = read_request(cfg)
    folder = Path(asked["run"])
    config = run_folder.read(folder).config
    _apply_sampling(config, asked["sampling"])
    _apply_restoring(config, asked.get("restoring", {}))
    _apply_data(config, asked.get("data", {}))
    if str(asked["trainer"]["precision"]) != "auto":
        trainer = asked["trainer"]
        wanted = precision(str(trainer["precision"]), trainer["accelerator"])
        config["trainer"]["precision"] = wanted
    experiment.check_plain(config)
    asked["weights"] = asked["weights"] or run_folder.usual_weights(config)
    module = experiment.load(folder, config, asked["checkpoint"], asked["weights"])
    if not module.ema_modules:
        asked["weights"] = "raw"
    fabric = launch(asked["trainer"])
    return RunInUse(folder, config, module.to(fabric.device), fabric, asked)


def read_request(cfg: DictConfig) -> dict[str, Any]:
    """Give what is asked for as plain values.

    Raises:
        ConfigError: where no run is named, or no images or a negative seed are asked for.
    """
    if OmegaConf.is_missing(cfg, "run"):
        raise ConfigError("which run? give it by run=runs/NAME")
    asked: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    if asked["n"] is None:
        asked["n"] = USUAL_N[asked.get("task", "evaluate")]
    if asked["n"] < 1:
        raise ConfigError(f"n={asked['n']} images asked for, expected at least 1")
    if asked["seed"] < 0:
        raise ConfigError(f"seed={asked['seed']} is negative; use 0 or more")
    return asked


def _apply_data(config: dict[str, Any], asked: dict[str, Any]) -> None:
    """Say where the data of the run lie on this machine."""
    wanted = {key: value for key, value in asked.items() if value is not None}
    for key in wanted.keys() - config["data"].keys():
        name = config["data"]["_target_"].rsplit(".", 1)[-1]
        raise ConfigError(f"{name}, the data of this run, has no data.{key}; leave it out")
    config["data"].update(wanted)


def _apply_sampling(config: dict[str, Any], asked: dict[str, Any]) -> None:
    """Replace the method's settings of sampling: its ``sampling``, or those it names itself."""
    wanted = {key: value for key, value in asked.items() if value is not None}
    method = config["method"]
    own, known = method.get("sampling"), list(method.get("sampling") or {})
    if own is None:
        target = resolve_target(method["_target_"], "method")
        own, known = method, list(getattr(target, "sampling_settings", ()))
    for key, value in wanted.items():
        if key not in known:
            name = method["_target_"].rsplit(".", 1)[-1]
            hint = nearest(key, known) if known else "; it takes none"
            raise ConfigError(f"{name} has no sampling.{key}{hint}")
        own[key] = value


def _apply_restoring(config: dict[str, Any], asked: dict[str, Any]) -> None:
    """Replace settings of the method's ``restoring``; an old run states none of them."""
    wanted = {key: value for key, value in asked.items() if value is not None}
    if not wanted:
        return
    target = resolve_target(config["method"]["_target_"], "method")
    hint = typing.get_type_hints(target.__init__).get("restoring")
    kinds = [part for part in (hint, *typing.get_args(hint)) if inspect.isclass(part)]
    if not kinds:
        raise ConfigError(f"{target.__name__} has no settings of restoring; leave them out")
    default = {"_target_": f"{kinds[0].__module__}.{kinds[0].__qualname__}"}
    own = config["method"]["restoring"] = config["method"].get("restoring") or default
    known = list(inspect.signature(kinds[0]).parameters)
    for key, value in wanted.items():
        if key not in known:
            raise ConfigError(f"{target.__name__} has no restoring.{key}{nearest(key, known)}")
        own[key] = value


def launch(trainer: dict[str, Any]) -> Fabric:
    """Start the processes that ``trainer`` asks for."""
    many = trainer["devices"] not in (1, [0]) or trainer["num_nodes"] > 1
    fabric = Fabric(
        accelerator=trainer["accelerator"],
        devices=trainer["devices"],
        num_nodes=trainer["num_nodes"],
        strategy="ddp" if many else "auto",
    )
    fabric.launch()
    return fabric
