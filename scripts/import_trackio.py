"""Run folders in trackio, a dashboard on this machine that needs no account and no network.

``python scripts/import_trackio.py runs [--project atelier] [--no-pictures]``
then ``trackio show --project atelier``. Needs ``pip install -e '.[dashboard]'``.

Each run has its scalars under their names with the images seen as the step, its pictures, its
settings with its status among them, and its group. Called again it replaces what it brought in
before, so no point is there twice and a run that went on is up to date. trackio keeps it all in
``TRACKIO_DIR``, or in its own folder of the user's cache.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import command_line  # noqa: E402
from comparison.pictures import pictures  # noqa: E402
from comparison.runs import Run, find, read_all  # noqa: E402
from config import ConfigError  # noqa: E402

NO_METRIC = ("images_seen", "time")
RECORDED = (
    "status", "error", "images_seen", "parameters", "wall_clock_seconds", "images_per_second",
    "device", "processes", "precision", "command", "protocols", "protocol_of", "final",
)  # fmt: skip
"""What of ``run.json`` is shown among a run's settings, under ``run``."""


class Point(NamedTuple):
    """Values at a number of images seen, and when they were there (ISO 8601)."""

    step: int
    time: str
    values: dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    """Bring the runs of the command line in and say how to look at them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, help="run folders, or folders that hold some")
    parser.add_argument("--project", default="atelier", help="of trackio")
    parser.add_argument("--no-pictures", action="store_true", help="scalars and settings alone")
    asked = parser.parse_args(arguments)
    try:
        import_runs(asked.runs, asked.project, not asked.no_pictures)
    except (ValueError, OSError) as error:
        command_line.fail(error)


def import_runs(places: Sequence[Path], project: str, with_pictures: bool = True) -> list[str]:
    """Bring run folders into a project of trackio; give the names that they have there.

    Raises:
        ConfigError: where trackio is not installed or refuses the project's name.
        NoRun: for a place that holds no run.
    """
    if re.fullmatch(r"[\w-]+", project) is None:
        raise ConfigError(f"--project {project!r}: expected letters, digits, - and _")
    storage = _trackio()
    found, broken = read_all(find(places))
    for folder, why in broken.items():
        print(f"left out: {folder}: {why}")
    shown = names(found)
    for run, name in shown.items():
        count = bring_in(storage, run, name, project, with_pictures)
        print(f"{name}: {run.status}, {count} points")
    print(f"look at them by: trackio show --project {project}")
    return list(shown.values())


def _trackio() -> Any:
    """Give trackio's storage."""
    try:
        from trackio.sqlite_storage import SQLiteStorage
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name} is missing: pip install -e '.[dashboard]'") from error
    return SQLiteStorage


def names(runs: Sequence[Run]) -> dict[Run, str]:
    """Give by run its folder's name, with that of its parents as far as two would have one name."""
    found = {}
    for run in runs:
        parts = run.folder.resolve().parts
        others = [other.folder.resolve().parts for other in runs if other is not run]
        depth = 1
        while depth < len(parts) and any(parts[-depth:] == other[-depth:] for other in others):
            depth += 1
        found[run] = "-".join(parts[-depth:])
    return found


def bring_in(storage: Any, run: Run, name: str, project: str, with_pictures: bool) -> int:
    """Replace a run in the project by what its folder holds now; give the number of points."""
    from trackio.media import get_project_media_path

    id = str(run.record.get("wandb_id", name))
    media = get_project_media_path(project=project, run=id)
    storage.delete_run(project, name, run_id=id)
    shutil.rmtree(media)
    points = [*scalars(run), *(_pictures(run, project, id) if with_pictures else ())]
    # A run that was killed before its first row has its settings all the same.
    points = points or [Point(0, _iso(0.0), {})]
    storage.bulk_log(
        project=project, run=name, run_id=id, config=settings(run),
        metrics_list=[point.values for point in points],
        steps=[point.step for point in points],
        timestamps=[point.time for point in points],
    )  # fmt: skip
    return len(points)


def scalars(run: Run) -> Iterator[Point]:
    """Yield the rows of ``metrics.jsonl``."""
    for row in run.rows:
        values = {key: value for key, value in row.items() if key not in NO_METRIC}
        yield Point(int(row["images_seen"]), _iso(row.get("time", 0.0)), values)


def _pictures(run: Run, project: str, id: str) -> Iterator[Point]:
    """Copy a run's pictures to trackio and yield what names them there."""
    from trackio.media import TrackioImage

    for picture in pictures(run):
        image = TrackioImage(picture.path, caption=f"{run.name}, {picture.images_seen:,} images")
        image._save(project, id, picture.images_seen)
        time = _iso(picture.path.stat().st_mtime)
        yield Point(picture.images_seen, time, {f"pictures/{picture.kind}": image._to_dict()})


def settings(run: Run) -> dict[str, Any]:
    """Give what is shown of a run beside its charts; status and the like are under ``run``."""
    record = {key: run.record[key] for key in RECORDED if key in run.record}
    return {
        **run.config,
        "run": {**record, "status": run.status, "folder": str(run.folder.resolve())},
        "_Created": str(run.record.get("started", "")),
        "_Group": run.config.get("group") or run.method,
    }


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


if __name__ == "__main__":
    main()
