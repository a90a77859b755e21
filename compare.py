"""Many runs side by side: ``python compare.py runs [--output comparison] [--watch]``."""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

from command_line import fail
from comparison import runs as reading
from comparison.board import Board, build
from config import ConfigError


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare what the command line names."""
    asked = parser().parse_args(arguments)
    try:
        if asked.watch:
            watch(asked)
        else:
            compare(asked.runs, asked.output)
    except (ValueError, OSError) as error:
        fail(error)


def parser() -> argparse.ArgumentParser:
    """Give what the command takes."""
    made = argparse.ArgumentParser(description=__doc__)
    told = "run folders, folders that hold some, or wandb:ENTITY/PROJECT"
    made.add_argument("runs", nargs="+", type=Path, help=told)
    made.add_argument("--output", type=Path, default=Path("comparison"), help="folder to write")
    made.add_argument("--watch", action="store_true", help="serve the page, anew while runs go on")
    made.add_argument("--port", type=int, default=8765, help="of --watch, on the loopback address")
    made.add_argument("--every", type=float, default=5.0, help="of --watch, seconds between looks")
    return made


def compare(places: Sequence[Path], output: Path, version: str = "", quiet: bool = False) -> Board:
    """Read runs, write the comparison to ``output``, say what came out; give it."""
    from comparison.report import write

    check_output(output)
    board = build(*read(places))
    paths = write(board, output, version)
    if not quiet:
        for folder, why in sorted(board.left_out.items()):
            print(f"in no table: {folder}: {why}")
        print(f"{len(board.runs)} runs, {len(board.tables)} tables")
        print(f"wrote {output / 'index.html'} and {len(paths) - 1} files beside it")
    return board


def read(places: Sequence[Path]) -> tuple[list[reading.Run], dict[Path, str]]:
    """Give the runs of folders and of W&B projects, and by folder why others could not be read."""
    from comparison.wandb_project import PREFIX, read_project

    projects = [str(place) for place in places if str(place).startswith(PREFIX)]
    runs, broken = reading.read_all(
        reading.find(place for place in places if str(place) not in projects)
    )
    for project in projects:
        online, unread = read_project(project)
        runs, broken = runs + online, broken | unread
    return runs, broken


def check_output(output: Path) -> None:
    """Refuse a place for the comparison that is a file, or a run.

    Raises:
        ConfigError: naming it.
    """
    if output.exists() and not output.is_dir():
        raise ConfigError(f"--output {output} is a file; give a folder")
    if any((output / name).exists() for name in reading.FILES):
        raise ConfigError(f"--output {output} is a run folder; give another one")


def watch(asked: argparse.Namespace) -> None:
    """Serve the page on the loopback address and make it anew while runs go on."""
    from comparison.serve import watch as serve
    from comparison.wandb_project import PREFIX

    if any(str(place).startswith(PREFIX) for place in asked.runs):
        raise ConfigError("--watch looks at run folders; leave wandb:... out")

    def state() -> str:
        digest = hashlib.sha256()
        for folder in reading.find(asked.runs):
            for file in ("config.yaml", "run.json", "metrics.jsonl", "evaluation.json"):
                path = folder / file
                stamp = path.stat().st_mtime_ns if path.exists() else 0
                digest.update(f"{path} {stamp} {reading.in_use(folder)}".encode())
        return digest.hexdigest()[:16]

    def make(version: str) -> None:
        compare(asked.runs, asked.output, version, quiet=True)

    serve(asked.output, asked.port, asked.every, state, make)


if __name__ == "__main__":
    main(sys.argv[1:])
