"""Run folders as a comparison reads them: settings, record, rows and evaluations; no weights."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from callbacks.run_record import read_rows

DEPTH = 3
"""How far below a given folder runs are looked for."""
FILES = ("config.yaml", "run.json")


class NoRun(ValueError):
    """A folder is no run, or half of one; the message says which file is missing or damaged."""


@dataclass(frozen=True, eq=False)
class Run:
    """One run.

    Attributes:
        folder: where it lies; of a run that was read elsewhere, a name that is no folder.
        config: resolved settings, plain.
        record: what ``run.json`` holds.
        status: that of the record; "dead" where it says running and no process holds the folder.
        rows: of ``metrics.jsonl``.
        evaluations: of ``evaluation.json``.
    """

    folder: Path
    config: dict[str, Any]
    record: dict[str, Any]
    status: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    evaluations: list[dict[str, Any]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def method(self) -> str:
        return str(self.record.get("method") or _last(self.config["method"]["_target_"]))

    @property
    def seed(self) -> int:
        return int(self.config.get("seed", self.record.get("seed", 0)))

    @property
    def data(self) -> str:
        """The data with the shape of its images; runs of other data are never ranked together."""
        data = self.config["data"]
        name = Path(str(data["folder"])).name if data.get("folder") else _last(data["_target_"])
        return (
            f"{name} {data.get('channels')} x {data.get('image_size')} x {data.get('image_size')}"
        )


def _last(target: str) -> str:
    return target.rsplit(".", 1)[-1]


def find(places: Iterable[Path]) -> list[Path]:
    """Give the run folders among ``places`` and up to three folders below them, sorted.

    Raises:
        NoRun: for a place that does not exist, or neither is a run nor holds one.
    """
    found: set[Path] = set()
    for place in places:
        if not place.is_dir():
            raise NoRun(f"{place} is no folder; give run folders, or a folder that holds some")
        below = set(_below(place, DEPTH))
        if not below:
            raise NoRun(
                f"{place} is no run folder (it has no {' and no '.join(FILES)}) and holds none; "
                "give runs/ or runs/NAME"
            )
        found |= below
    return sorted(found)


def _below(place: Path, depth: int) -> Iterable[Path]:
    if any((place / name).is_file() for name in FILES):
        yield place
    elif depth:
        for folder in sorted(place.iterdir()):
            if folder.is_dir() and not folder.is_symlink() and not folder.name.startswith("."):
                yield from _below(folder, depth - 1)


def read(folder: Path) -> Run:
    """Give the run in ``folder``.

    Raises:
        NoRun: where a file is missing, damaged, or no run's.
    """
    try:
        config = yaml.load((folder / "config.yaml").read_text(), yaml.CSafeLoader)
        record = json.loads((folder / "run.json").read_text())
        evaluation = folder / "evaluation.json"
        entries = json.loads(evaluation.read_text()) if evaluation.exists() else {}
        evaluations = [dict(entry) for entry in entries.get("evaluations", [])]
        for part in ("method", "data"):
            config[part]["_target_"]
        status = str(record["status"])
    except FileNotFoundError as error:
        raise NoRun(f"half-written: it has no {Path(error.filename).name}") from error
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise NoRun(f"damaged: {reason}") from error
    if status in ("starting", "running") and not in_use(folder):
        status = "dead"
    return Run(folder, config, record, status, read_rows(folder / "metrics.jsonl"), evaluations)


def in_use(folder: Path) -> bool:
    """Tell whether a process trains in ``folder``: it holds the lock for as long as it lives."""
    try:
        with open(folder / ".lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def read_all(folders: Iterable[Path]) -> tuple[list[Run], dict[Path, str]]:
    """Give the runs, and by folder why some of them could not be read."""
    runs, broken = [], {}
    for folder in folders:
        try:
            runs.append(read(folder))
        except NoRun as error:
            broken[folder] = str(error)
    return runs, broken
