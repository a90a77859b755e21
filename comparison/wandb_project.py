"""Runs of a W&B project as a comparison reads them, through W&B's public API."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from comparison.runs import NoRun, Run

PREFIX = "wandb:"
"""Begins the name of a project in place of a folder: ``wandb:ENTITY/PROJECT``."""
TIMEOUT = 20
"""Seconds that an answer of W&B may take."""
STATES = {"finished": "finished", "failed": "failed", "crashed": "dead", "killed": "interrupted"}
"""Status by W&B's word for a run that left no record; others are running."""
OUR_OWN = ("record", "provenance", "forward_tflop_per_image")
"""What a run writes among its settings there and has not in ``config.yaml``."""


def read_project(place: str) -> tuple[list[Run], dict[Path, str]]:
    """Give the runs of the project ``wandb:ENTITY/PROJECT``, and why some could not be read.

    Raises:
        NoRun: without an account or a network, and for a project that does not exist or is empty.
    """
    project = place.removeprefix(PREFIX)
    if project.count("/") != 1 or not all(project.split("/")):
        raise NoRun(f"{place} names no W&B project; expected {PREFIX}ENTITY/PROJECT")
    runs, broken = [], {}
    try:
        for found in _found(project):
            folder = Path(f"{place}/{found.id}")
            try:
                runs.append(_run(found, folder))
            except (KeyError, TypeError, AttributeError) as error:
                broken[folder] = f"no run of train.py: its settings lack {error}"
    except NoRun:
        raise
    except Exception as error:  # W&B's own, of its network layer, and of its service process
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise NoRun(
            f"{place} cannot be read: {reason}; check the name, `wandb login` and the network, or "
            "compare run folders, which need neither"
        ) from error
    if not runs and not broken:
        raise NoRun(f"{place} holds no runs")
    return runs, broken


def _found(project: str) -> Iterator[Any]:
    import wandb

    yield from wandb.Api(timeout=TIMEOUT).runs(project, lazy=False)


def _run(found: Any, folder: Path) -> Run:
    config = {key: value for key, value in found.config.items() if key not in OUR_OWN}
    for part in ("method", "data"):
        config[part]["_target_"]
    record = dict(found.config.get("record") or {})
    status = str(record.get("status") or STATES.get(found.state, "running"))
    record.setdefault("images_seen", found.summary.get("images_seen"))
    return Run(folder, config, record, status, _rows(found))


def _rows(found: Any) -> list[dict[str, Any]]:
    """Give the history as the rows of a ``metrics.jsonl``."""
    rows = []
    for row in found.scan_history():
        numbers = {
            key: value
            for key, value in row.items()
            if isinstance(value, int | float) and math.isfinite(value) and not key.startswith("_")
        }
        if "images_seen" in numbers:
            clocks = {"seconds": row.get("_runtime", 0.0), "time": row.get("_timestamp", 0.0)}
            rows.append({**clocks, **numbers})
    return rows
