"""The only glue: a configuration becomes module, data and trainer; a run folder, a model."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra.utils import instantiate
from lightning import LightningDataModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loggers.logger import Logger
from omegaconf import DictConfig, OmegaConf

import inherit
import run_folder
from callbacks.checkpoints import AtomicCheckpointIO, read_checkpoint
from callbacks.ema import EMA
from callbacks.run_record import MetricsFile
from callbacks.tracker import Tracker
from callbacks.weights import named_weights
from config import ConfigError, nearest
from datamodules.base import ImageDataModule
from datamodules.order import batch_size_per_process
from functional.hardware import precision
from lightning_modules.base import ImageModule
from schema_check import check_tree

NODES = ("data", "method", "trainer", "callbacks", "logger")
# What the platform says to the Trainer itself, and the setting that a person means by it.
TRAINER_KEYS = {
    "max_epochs": "budget.images",
    "min_epochs": "budget.images",
    "max_steps": "budget.steps",
    "min_steps": "budget.steps",
    "max_time": "budget.minutes",
    "fast_dev_run": "debug=fast",
    "barebones": "callbacks=none",
    "callbacks": "callbacks.NAME",
    "logger": "logger=CHOICE",
    "default_root_dir": "paths.runs and name",
    "val_check_interval": "validate_every_images",
    "check_val_every_n_epoch": "validate_every_images",
    "num_sanity_val_steps": "debug=fast",
    "enable_checkpointing": "callbacks.checkpoints",
    "enable_progress_bar": "callbacks.progress=null",
    "enable_model_summary": "run.json, which has the number of parameters",
    "plugins": "trainer.strategy and trainer.precision",
    "use_distributed_sampler": "data.batch_size, which is global",
    "reload_dataloaders_every_n_epochs": "data=CHOICE",
}


@dataclass(frozen=True)
class Experiment:
    """What ``train.py`` trains."""

    module: ImageModule
    data: ImageDataModule
    trainer: Trainer


class Parts(NamedTuple):
    """What can be built before there is a run folder."""

    module: ImageModule
    data: ImageDataModule


def check(cfg: DictConfig) -> dict[str, Any]:
    """Give ``cfg`` resolved to plain dicts and lists, every part of it checked.

    Raises:
        ConfigError: naming the key that is wrong and the nearest valid one.
    """
    plain = resolve(cfg)
    check_plain(plain)
    return plain


def resolve(cfg: DictConfig) -> dict[str, Any]:
    """Give ``cfg`` as plain dicts and lists in which nothing is left to be filled in."""
    plain: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
    trainer = plain["trainer"]
    trainer["precision"] = precision(str(trainer["precision"]), trainer["accelerator"])
    plain["callbacks"] = without_adjustments(plain["callbacks"])
    inherit.expand(plain["method"])
    return plain


def without_adjustments(callbacks: dict[str, Any]) -> dict[str, Any]:
    """Leave out settings of callbacks that ``callbacks=none`` left out; methods adjust some."""
    known = OmegaConf.load(Path(__file__).parent / "conf" / "callbacks" / "default.yaml")
    return {
        name: node
        for name, node in callbacks.items()
        if name not in known or not isinstance(node, dict) or "_target_" in node
    }


def check_plain(plain: dict[str, Any]) -> None:
    """Check every part of a resolved configuration; see :func:`check`."""
    for name, callback in plain.get("callbacks", {}).items():
        if callback is not None and not isinstance(callback, dict):
            raise ConfigError(f"callbacks.{name}={callback!r}; give null to leave it out")
    for name, callback in plain.get("callbacks", {}).items():
        if callback is not None and "_target_" not in callback:
            known = [k for k, node in plain["callbacks"].items() if "_target_" in (node or {})]
            raise ConfigError(f"unknown callback callbacks.{name}{nearest(name, known)}")
    for node in NODES:
        check_tree(plain.get(node), node)
    check_training(plain)


def check_training(plain: dict[str, Any]) -> None:
    """Refuse what the Trainer would accept and the platform would overrule, or cannot do."""
    for key, instead in TRAINER_KEYS.items():
        if plain["trainer"].get(key) is not None:
            raise ConfigError(f"trainer.{key} is set by the platform; use {instead} instead")
    if plain["validate_every_images"] < 1:
        raise ConfigError(
            f"validate_every_images={plain['validate_every_images']}; expected 1 or more"
        )


def make(node: dict[str, Any], **given: Any) -> Any:
    """Instantiate a checked node; lists and dicts in it arrive as plain ones."""
    return instantiate(node, _convert_="all", **given)


def build_module(cfg: dict[str, Any]) -> ImageModule:
    """Give the method of a checked configuration, from its seed alone."""
    seed_everything(cfg["seed"], workers=True, verbose=False)
    module = make(cfg["method"])
    if not isinstance(module, ImageModule):
        raise ConfigError(f"method is a {type(module).__name__}, expected an ImageModule")
    if str(cfg["trainer"]["precision"]).startswith("bf16"):
        module.autocast_dtype = torch.bfloat16
    elif str(cfg["trainer"]["precision"]).startswith("16"):
        module.autocast_dtype = torch.float16
    return module


def build_data(cfg: dict[str, Any]) -> ImageDataModule:
    """Give the data module of a checked configuration."""
    data = make(cfg["data"])
    if not isinstance(data, ImageDataModule):
        raise ConfigError(f"data is a {type(data).__name__}, expected an ImageDataModule")
    return data


def prepare(cfg: dict[str, Any], folder: Path | None = None) -> Parts:
    """Give module and data of a checked configuration; whatever does not fit is refused here.

    Nothing is written, so that a run that is refused leaves no folder.

    Args:
        folder: of a run that goes on, whose checkpoints hold what a new one takes from elsewhere.
    """
    _quiet_known_warnings()
    data, module = build_data(cfg), build_module(cfg)
    check_shape(module, data)
    if not _downloads(data):
        data.setup("fit")
    for callback in build_callbacks(cfg):
        if isinstance(callback, Tracker | EMA):
            callback.begin(module)
    trainer = make(_trainer_settings(cfg), logger=False, enable_checkpointing=False)
    module.check_trainer(trainer)
    batch_size_per_process(data.batch_size, trainer.world_size)
    module.check_data(data, trainer.world_size)
    inherit.load(module, cfg["method"], folder, load)
    if folder is None or not run_folder.checkpoint_path(folder, "last").exists():
        module.begin()
    return Parts(module, data)


def build(cfg: dict[str, Any], folder: Path, run_id: str, parts: Parts | None = None) -> Experiment:
    """Give module, data and trainer of a checked configuration, writing to the run folder.

    Args:
        parts: what :func:`prepare` gave, or None to do that now.
    """
    module, data = parts or prepare(cfg, folder)
    inherit.keep(module, cfg["method"], folder)
    return Experiment(module, data, build_trainer(cfg, folder, run_id))


def check_shape(module: ImageModule, data: ImageDataModule) -> None:
    """Refuse data whose images are not of the shape that the method takes, with a ConfigError."""
    given, taken = (data.channels, data.image_size, data.image_size), tuple(module.image_shape)
    if given != taken:
        raise ConfigError(
            f"the data's images are {' x '.join(map(str, given))}, but {type(module).__name__} "
            f"takes {' x '.join(map(str, taken))}; set data.channels and data.image_size, or use "
            "other data"
        )


def _downloads(data: ImageDataModule) -> bool:
    return type(data).prepare_data is not LightningDataModule.prepare_data


def build_callbacks(cfg: dict[str, Any]) -> list[Callback]:
    """Give the callbacks of a checked configuration, in its order."""
    return [make(node) for node in cfg["callbacks"].values() if node]


def build_trainer(cfg: dict[str, Any], folder: Path, run_id: str) -> Trainer:
    """Give the Trainer: its settings from the configuration, the rest from the platform."""
    callbacks = build_callbacks(cfg)
    loggers: list[Logger] = [MetricsFile(str(folder))]
    if cfg["logger"]:
        loggers += [make(cfg["logger"], folder=str(folder), **_wandb_names(cfg, folder, run_id))]
    batch_size = cfg["data"]["batch_size"]
    shown = any(type(callback).__name__ == "Progress" for callback in callbacks)
    return make(  # type: ignore[no-any-return]
        _trainer_settings(cfg),
        default_root_dir=str(folder),
        logger=loggers,
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO()],
        max_epochs=-1,
        num_sanity_val_steps=0,
        check_val_every_n_epoch=None,
        val_check_interval=max(1, cfg["validate_every_images"] // batch_size),
        enable_progress_bar=shown,
    )


def _trainer_settings(cfg: dict[str, Any]) -> dict[str, Any]:
    own = {"use_distributed_sampler": False, "enable_model_summary": False}
    return {**{key: value for key, value in cfg["trainer"].items() if value is not None}, **own}


def _wandb_names(cfg: dict[str, Any], folder: Path, run_id: str) -> dict[str, str]:
    is_wandb = cfg["logger"]["_target_"].endswith("WandbRun")
    return {"name": folder.name, "id": run_id} if is_wandb else {}


def _quiet_known_warnings() -> None:
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
        logging.getLogger(name).propagate = False
    for message in (
        ".*does not have many workers.*",
        ".*`lr_scheduler.step\\(\\)` before `optimizer.step.*",
        ".*isinstance\\(treespec, LeafSpec\\).*",
        ".*num_sanity_val_steps.*",
        ".*module\\(s\\) in eval mode at the start of training.*",
        ".*number of training batches .* smaller than the logging interval.*",
        ".*Checkpoint directory .* exists and is not empty.*",
    ):
        warnings.filterwarnings("ignore", message=message)


def load(
    folder: Path, cfg: dict[str, Any], checkpoint: str = "best", weights: str = "ema"
) -> ImageModule:
    """Give the model of a run folder, on the CPU, in evaluation mode.

    Args:
        folder: the run folder.
        cfg: its checked configuration.
        checkpoint: "best" (by FID), "last", or a file's path. Where there is no best, last counts.
        weights: "raw", "ema", or another average that the run kept (``callbacks.weights``).
    """
    content = read_checkpoint(run_folder.checkpoint_path(folder, checkpoint))
    module = build_module(cfg)
    try:
        module.load_state_dict(content["state_dict"])
    except RuntimeError as error:
        raise ConfigError(
            f"the checkpoint of {folder} does not fit its config.yaml: "
            f"{str(error).splitlines()[1].strip()}"
        ) from error
    if module.ema_modules:
        module.load_state_dict(named_weights(content, folder, weights), strict=False)
    module.images_seen = content["counters"]["images_seen"]
    return module.eval()


def title(choices: Any) -> str:
    """Give what a run is called after: its experiment, else its method and data."""
    chosen = choices.get("experiment")
    return str(chosen).replace("/", "-") if chosen else f"{choices['method']}-{choices['data']}"


def close(built: Experiment) -> None:
    """End what loggers hold open, so that the next job of a sweep starts its own."""
    for logger in built.trainer.loggers:
        if isinstance(logger, WandbLogger):
            import wandb

            wandb.finish()
