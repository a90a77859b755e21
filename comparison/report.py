"""Writes a comparison: leaderboards, plots, pictures and the page."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from callbacks.pictures import save_picture
from comparison import plots as drawn
from comparison import writers
from comparison.board import Board
from comparison.page import page
from comparison.pictures import progress, side_by_side


def write(board: Board, folder: Path, version: str = "") -> list[Path]:
    """Write ``leaderboard.{md,csv,json}``, plots, pictures and ``index.html``; give their paths.

    A file is written whole or not at all, so that one that is being read is never half of one.

    Args:
        board: what is compared.
        folder: made where it is not there.
        version: see :func:`comparison.page.page`.
    """
    figures = drawn.plots(board)
    drawings = {name: drawn.svg(figure) for name, figure in figures.items()}
    film = progress(board)
    files: dict[str, bytes] = {
        "leaderboard.md": writers.markdown(board).encode(),
        "leaderboard.csv": writers.as_csv(board).encode(),
        "leaderboard.json": writers.as_json(board).encode(),
        **{f"plots/{name}.svg": text.encode() for name, text in drawings.items()},
        **{f"plots/{name}.png": drawn.png(figure) for name, figure in figures.items()},
        **({"progress.gif": film} if film is not None else {}),
        "index.html": page(board, drawings, film, version).encode(),
    }
    paths = write_all(folder, files)
    sheet = side_by_side(board)
    return paths + ([] if sheet is None else [save_picture(sheet, folder / "samples.png")])


def write_all(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write ``files`` by their names below ``folder``, each whole or not at all; give the paths."""
    paths = []
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        partial.write_bytes(content)
        os.replace(partial, path)
        paths.append(path)
    return paths
