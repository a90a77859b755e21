"""Tables and plots of what ``evaluate.py`` measured of one run."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from callbacks.metric_group import Chart, Report
from comparison.plots import COLOURS, plain_numbers, png
from comparison.report import write_all

MARKS = "osD^vPX*"


def write_report(report: Report, folder: Path, name: str) -> list[Path]:
    """Write the rows as ``<name>.csv``, charts as PNG files, further files; give the paths."""
    files = {f"{chart}.png": png(draw(what)) for chart, what in report.charts.items()}
    files |= {file: text.encode() for file, text in report.files.items()}
    if report.rows:
        files[f"{name}.csv"] = table(report.rows).encode()
    return write_all(folder, files)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Give rows as CSV with a header; a column that a row has not is empty."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def draw(chart: Chart) -> Figure:
    """Give the lines of a chart, told apart by colour and, where points are few, by their marks."""
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    axes = figure.add_subplot()
    for number, (label, points) in enumerate(chart.lines.items()):
        xs, ys = zip(*sorted(points), strict=True)
        starred = label.endswith("*")
        axes.plot(
            xs, ys, ls="--" if starred else "-", lw=1.2, zorder=3 if starred else 2, ms=4,
            marker=MARKS[number // len(COLOURS) % len(MARKS)] if len(points) < 50 else "",
            color="black" if starred else COLOURS[number % len(COLOURS)],
            label=label.removesuffix("*"),
        )  # fmt: skip
    axes.set(title=chart.title, xlabel=chart.x, ylabel=chart.y)
    axes.title.set_fontsize(10)
    axes.set_xscale("log" if chart.log_x else "linear")
    axes.set_yscale("log" if chart.log_y else "linear")
    for axis, logarithmic in ((axes.xaxis, chart.log_x), (axes.yaxis, chart.log_y)):
        if logarithmic:
            plain_numbers(axis)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if len(chart.lines) > 6:
        axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    else:
        axes.legend(fontsize=8, frameon=False)
    return figure
