"""A run folder: made, found again, resumed, read.

``config.yaml`` (resolved), ``run.json``, ``metrics.jsonl``, ``checkpoints/``, ``samples/`` and the
loggers' files: whatever evaluating, sampling, comparing and resuming need. Nothing in it names the
place where it lies, so it can be moved.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from callbacks.run_record import write_json
from config import ConfigError
from metrics.protocol import short_hash
from provenance import provenance
from resume_settings import merged

# Processes that the Trainer starts find the folder of their run here.
FOLDER_VARIABLE = "ATELIER_RUN_FOLDER"
# Settings that may change between two calls of a sweep: its jobs stay the same ones.
NOT_OF_A_JOB = ("name", "group", "tags", "notes", "paths", "logger", "resume")


@dataclass
class Run:
    """A run folder in use: ``checkpoint`` is what training goes on from, or None."""

    folder: Path
    config: dict[str, Any]
    id: str
    checkpoint: Path | None = None
    lock: int | None = None


def create(config: dict[str, Any], title: str) -> Run:
    """Make the folder of a new run, or join the one that rank 0 made.

    Args:
        config: checked and resolved.
        title: what the name begins with where ``config["name"]`` is null.

    Raises:
        ConfigError: where the name is taken, or the folder cannot be written.
    """
    if FOLDER_VARIABLE in os.environ:
        return read(Path(os.environ[FOLDER_VARIABLE]))
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return _create_under_torchrun(config)
    folder = _make_folder(Path(config["paths"]["runs"]), config["name"], title)
    os.environ[FOLDER_VARIABLE] = str(folder.resolve())
    return _begin(folder, config)


def _create_under_torchrun(config: dict[str, Any]) -> Run:
    if not config["name"]:
        raise ConfigError("under torchrun every process must know the run: give it by name=NAME")
    folder = Path(config["paths"]["runs"]) / config["name"]
    if os.environ.get("RANK", "0") == "0":
        return _begin(_make_folder(folder.parent, folder.name, ""), config)
    deadline = time.monotonic() + 120
    while not (folder / "run.json").exists():
        if time.monotonic() > deadline:
            raise ConfigError(f"rank 0 did not make {folder} within 120 s")
        time.sleep(0.2)
    return read(folder)


def enter_sweep(config: dict[str, Any], title: str, arguments: list[str]) -> Path | None:
    """Name a job of a sweep after its settings, so that the same sweep called again finds it.

    Args:
        config: of the job; gets a name that is its own, and a group where it has none.
        title: what the name begins with where ``config["name"]`` is null.
        arguments: of the sweep's command, after which the group is called.

    Returns:
        The folder of the job where an earlier call made it, else None.
    """
    if not config["group"]:
        config["group"] = f"sweep-{short_hash({'arguments': arguments})[:6]}"
        if "group" in (config["logger"] or {}):
            config["logger"]["group"] = config["group"]
    settings = {key: value for key, value in config.items() if key not in NOT_OF_A_JOB}
    config["name"] = f"{config['name'] or title}-seed{config['seed']}-{short_hash(settings)[:6]}"
    folder = Path(config["paths"]["runs"]) / config["name"]
    return folder if (folder / "run.json").exists() else None


def finished(folder: Path) -> bool:
    """Tell whether the run in ``folder`` was trained to its end and tested."""
    return bool(json.loads((folder / "run.json").read_text()).get("status") == "finished")


def _make_folder(runs: Path, name: str | None, title: str) -> Path:
    base = name or f"{title}-{time.strftime('%Y%m%d-%H%M%S')}"
    for attempt in range(100):
        folder = runs / (base if attempt == 0 else f"{base}-{attempt + 1}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError as error:
            if name and _never_began(folder):
                return folder
            if name:
                raise ConfigError(
                    f"{folder} exists; go on with it by resume={folder} or choose another name"
                ) from error
        except OSError as error:
            raise ConfigError(
                f"cannot write the run folder {folder} ({error.strerror}); set paths.runs"
            ) from error
    raise ConfigError(f"{runs / base} and a hundred like it exist; give name=NAME")


def _never_began(folder: Path) -> bool:
    """Tell whether a process was killed here between making the folder and writing its record."""
    held = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return ".lock" in held and all(n == "config.yaml" or n.startswith(".") for n in held)


def _begin(folder: Path, config: dict[str, Any]) -> Run:
    run = Run(folder, config, id=secrets.token_hex(4))
    run.lock = _lock(folder)
    save_config(run)
    write_json(folder / "run.json", {"name": folder.name, "wandb_id": run.id, **provenance(config)})
    return run


def save_config(run: Run) -> None:
    """Write the settings that the run goes on with, whole or not at all; its first process does."""
    if run.lock is None:
        return
    partial = run.folder / f".config.yaml.{os.getpid()}.partial"
    try:
        OmegaConf.save(OmegaConf.create(run.config), partial)
        os.replace(partial, run.folder / "config.yaml")
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ConfigError(
            f"cannot write the settings to {run.folder} ({error.strerror}); free disk space"
        ) from error


def read(folder: Path) -> Run:
    """Open an existing run folder to read.

    Raises:
        ConfigError: where it is no run folder or half of one.
    """
    try:
        loaded: Any = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"), resolve=True)
        record = json.loads((folder / "run.json").read_text())
    except (FileNotFoundError, NotADirectoryError) as error:
        missing = Path(error.filename).name
        raise ConfigError(f"{folder} is no run folder: it has no {missing}") from error
    except (OmegaConfBaseException, YAMLError, ValueError, OSError) as error:
        raise ConfigError(f"{folder} cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(loaded, dict) or "method" not in loaded:
        raise ConfigError(f"{folder}/config.yaml is no configuration of a run")
    return Run(folder, loaded, id=str(record.get("wandb_id", secrets.token_hex(4))))


def checkpoint_path(folder: Path, checkpoint: str) -> Path:
    """Give the file that "best", "last" or a path names."""
    if checkpoint not in ("best", "last"):
        return Path(checkpoint)
    named = folder / "checkpoints" / f"{checkpoint}.ckpt"
    fallback = folder / "checkpoints" / "last.ckpt"
    return named if named.exists() or not fallback.exists() else fallback


def checkpoint_name(folder: Path, checkpoint: str) -> str:
    """Give what "best", "last" or a path turned out to be: "last" where there is no best."""
    named = checkpoint in ("best", "last")
    return checkpoint_path(folder, checkpoint).stem if named else checkpoint


def usual_weights(config: dict[str, Any]) -> str:
    """Give "ema" where the run keeps an average of its weights, else "raw"."""
    return "ema" if (config.get("callbacks") or {}).get("ema") else "raw"


def resume(folder: Path, asked: dict[str, Any], overrides: list[str]) -> Run:
    """Open a run folder to go on with it.

    Args:
        folder: the run folder.
        asked: the checked configuration of the command line.
        overrides: the command line's own settings, ``key=value``; the others are the run's.

    Raises:
        ConfigError: where settings that decide the result changed (each is listed), the folder is
            read-only, or another process trains in it.
    """
    run = read(folder)
    run.config = merged(run.config, asked, overrides)
    if FOLDER_VARIABLE not in os.environ and os.environ.get("RANK", "0") == "0":
        _check_writable(folder)
        run.lock = _lock(folder)
        os.environ[FOLDER_VARIABLE] = str(folder.resolve())
    last = folder / "checkpoints" / "last.ckpt"
    run.checkpoint = last if last.exists() else None
    return run


def release(run: Run) -> None:
    """Let go of the folder, so that the next job of a sweep makes its own."""
    if run.lock is not None:
        os.environ.pop(FOLDER_VARIABLE, None)
        os.close(run.lock)
        run.lock = None


def _check_writable(folder: Path) -> None:
    probe = folder / f".writable.{os.getpid()}"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be written ({error.strerror}); copy the folder to a place that can, "
            "and resume there"
        ) from error


def _lock(folder: Path) -> int:
    """Hold the folder for this process; the system lets go however the process ends."""
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise ConfigError(f"another process trains in {folder}; wait for it or stop it") from error
    return descriptor
