"""Curves and clouds of a comparison: FID on the way, against evaluations; precision and recall."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, StrMethodFormatter

from comparison.board import Board
from comparison.runs import Run
from comparison.scores import FINAL, Score
from comparison.tables import row_label
from metrics.protocol import ProtocolRecord

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8B6F47", "#7F7F7F")
"""Told apart by the colour-blind (Okabe & Ito), and on light and dark ground."""
WIDTH = 80
"""Letters of a legend's line."""
Point = tuple[float, float]
Curves = dict[str, list[list[Point]]]
"""By recipe, the points of each of its runs."""


def plots(board: Board) -> dict[str, Figure]:
    """Give the plots for which the runs have the numbers, by a name that a file may have."""
    found: dict[str, Figure] = {}
    for number, ((data, key), runs) in enumerate(tracked(board).items(), start=1):
        for name, axis, x in (
            ("images", "images seen", _images),
            ("minutes", "wall-clock, minutes", _minutes),
        ):
            curves = {
                label: [points(run, key, x) for run in group] for label, group in runs.items()
            }
            if any(len(line) > 1 for lines in curves.values() for line in lines):
                found[f"fid_by_{name}_{number}"] = line_plot(curves, axis, f"{key} on {data}")
    found |= clouds(board)
    return found


def tracked(board: Board) -> dict[tuple[str, str], dict[str, list[Run]]]:
    """Give by data and key of FID the runs, by recipe, that measured it alike on the way."""
    found: dict[tuple[str, str, str], dict[str, list[Run]]] = {}
    for run in board.runs:
        for key in sorted({k for row in run.rows for k in row if k.startswith("gen/fid/")}):
            id = run.record.get("protocol_of", {}).get("validation", {}).get(key)
            record = run.record.get("protocols", {}).get(id)
            if record is not None:
                measured = ProtocolRecord.from_dict(record).measurement_id
                place = found.setdefault((run.data, key, measured), {})
                place.setdefault(board.labels[run], []).append(run)
    return {
        (data, f"{key} [{id}]" if _repeats(found, data, key) else key): runs
        for (data, key, id), runs in sorted(found.items())
    }


def _repeats(found: Iterable[tuple[str, str, str]], data: str, key: str) -> bool:
    return sum((d, k) == (data, key) for d, k, _ in found) > 1


def points(run: Run, key: str, x: Callable[[dict[str, Any]], float | None]) -> list[Point]:
    """Give the values of ``key`` in a run's rows, each at ``x`` of its row."""
    name = key.split(" [")[0]
    found = [(x(row), row[name]) for row in run.rows if name in row]
    return [(at, value) for at, value in found if at is not None]


def _images(row: dict[str, Any]) -> float | None:
    return float(row["images_seen"])


def _minutes(row: dict[str, Any]) -> float | None:
    return row["seconds"] / 60 if "seconds" in row else None


def plain_numbers(axis: Any) -> None:
    """Label a logarithmic axis as one writes numbers: 12 and 20, no powers of ten."""
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.5)))


def line_plot(curves: Curves, axis: str, title: str) -> Figure:
    """Give lines, one colour for each recipe and one line for each of its runs."""
    figure, axes = _axes(axis, title)
    axes.set_yscale("log")
    axes.set_ylabel("FID")
    plain_numbers(axes.yaxis)
    for colour, (label, lines) in zip(_colours(), curves.items(), strict=False):
        for number, line in enumerate(filter(None, lines)):
            xs, ys = zip(*line, strict=True)
            axes.plot(xs, ys, "o-", ms=3, lw=1.2, color=colour, label=None if number else label)
    _finish(figure, axes)
    return figure


def clouds(board: Board) -> dict[str, Figure]:
    """Give FID against evaluations and precision against recall, of each data and measurement."""
    found: dict[str, Figure] = {}
    for number, table in enumerate((t for t in board.tables if t.track == "gen"), start=1):
        scores = [s for row in table.rows for cell in row.cells.values() for s in cell.scores]
        final = [s for s in scores if s.checkpoint == FINAL and s.protocol is not None]
        for measured in sorted({s.measurement for s in final}):
            alike = [s for s in final if s.measurement == measured]
            title = f"{alike[0].key.features} on {table.data}"
            name = f"{number}_{measured}"
            cloud = _of_evaluations(alike)
            if len({x for points in cloud.values() for x, _ in points}) > 1:
                found[f"fid_by_nfe_{name}"] = scatter(cloud, "evaluations per image", "FID", title)
            pairs = _pairs(alike, board)
            if sum(map(len, pairs.values())) > 1:
                found[f"precision_recall_{name}"] = scatter(pairs, "recall", "precision", title)
    return found


def _of_evaluations(scores: Sequence[Score]) -> dict[str, list[Point]]:
    cloud: dict[str, list[Point]] = {}
    for s in scores:
        if s.key.metric == "fid" and s.protocol is not None:
            cloud.setdefault(s.run.method, []).append((float(s.protocol.nfe), s.value))
    return cloud


def _pairs(scores: Sequence[Score], board: Board) -> dict[str, list[Point]]:
    values: dict[tuple[str, Run], dict[str, float]] = {}
    for s in scores:
        place = values.setdefault((row_label(s, board.labels), s.run), {})
        place[s.key.metric] = s.value
    cloud: dict[str, list[Point]] = {}
    for (label, _), found in values.items():
        if {"precision", "recall"} <= found.keys():
            cloud.setdefault(label, []).append((found["recall"], found["precision"]))
    return cloud


def scatter(cloud: dict[str, list[Point]], x: str, y: str, title: str) -> Figure:
    """Give a cloud of points, one colour for each name."""
    figure, axes = _axes(x, title)
    axes.set_ylabel(y)
    for colour, (label, found) in zip(_colours(), sorted(cloud.items()), strict=False):
        xs, ys = zip(*sorted(found), strict=True)
        axes.plot(xs, ys, "o", ms=6, color=colour, label=label, alpha=0.8)
    _finish(figure, axes)
    if x.startswith("evaluations"):
        axes.set_xscale("symlog", linthresh=1)
    return figure


def _colours() -> list[str]:
    return list(COLOURS) * 8


def _axes(x: str, title: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x)
    return figure, axes


def _finish(figure: Figure, axes: Any) -> None:
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.lines:
        # Below, where no label is too long and no point is covered.
        handles, labels = axes.get_legend_handles_labels()
        told = [textwrap.fill(label, WIDTH) for label in labels]
        figure.legend(handles, told, fontsize=8, frameon=False, loc="outside lower left")


def png(figure: Figure) -> bytes:
    """Give a picture on white."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120, facecolor="white")
    return file.getvalue()


def svg(figure: Figure) -> str:
    """Give a drawing without ground whose lines and words take the colour of the text around it."""
    file = io.StringIO()
    # Words stay words, in the page's font; the same plot is the same text.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "comparison"}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    drawing = file.getvalue()
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing[drawing.index("<svg") :], flags=re.S)
    return drawing.replace("#000000", "currentColor")
