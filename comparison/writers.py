"""A comparison as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from comparison.board import Board
from comparison.costs import KINDS, NFE, Cost
from comparison.tables import Cell, Column, Row, Table

COSTS = ("recipe", "data", "runs", *(kind.title for kind in (*KINDS, NFE)), "hardware")


def number(value: float) -> str:
    """Give four digits, and no exponent where a person would write none."""
    return f"{value:.3e}" if value and abs(value) < 1e-3 else f"{value:.4g}"


def shown(cell: Cell | None) -> str:
    """Give ``mean ± std (n)``; the number of seeds where there is more than one."""
    if cell is None:
        return "n/a"
    std = "" if cell.std is None else f" ± {number(cell.std)} ({len(cell.scores)})"
    return number(cell.mean) + std


def heads(table: Table) -> list[str]:
    """Give the titles of a table's columns, with the measurement where a title repeats."""
    titles = [c.title for c in table.columns]
    return [
        f"{title} [{c.measurement or 'unrecorded'}]" if titles.count(title) > 1 else title
        for title, c in zip(titles, table.columns, strict=True)
    ]


def cost_values(cost: Cost) -> list[str]:
    """Give a cost as texts, in the order of ``COSTS``."""
    texts = [amount.text for amount in cost.amounts]
    return [cost.label, cost.data, str(len(cost.runs)), *texts, cost.hardware]


def markdown(board: Board) -> str:
    """Give the leaderboards, their costs and what was left out."""
    parts = ["# Comparison", ""]
    for table in board.tables:
        parts += [f"## {table.title}", "", *_markdown_table(table), ""]
        parts += [f"- {note}" for note in table.notes] + [""] * bool(table.notes)
    if board.costs:
        parts += ["## cost", "", *_lines(list(COSTS), [cost_values(c) for c in board.costs]), ""]
    if board.left_out:
        parts += ["## In no table", ""]
        parts += [f"- `{folder}`: {why}" for folder, why in sorted(board.left_out.items())] + [""]
    parts += [
        "± is the standard deviation over seeds, their number in brackets. A value in bold is the "
        "best of its column, and a column holds values of one measurement alone.", "",
    ]  # fmt: skip
    return "\n".join(parts)


def _markdown_table(table: Table) -> list[str]:
    rows = []
    for row in table.rows:
        cells = [_bold(shown(row.cells.get(c)), table, c, row) for c in table.columns]
        rows.append([str(row.rank or ""), row.label, *cells, " ".join(row.protocols) or "n/a"])
    return _lines(["#", "recipe", *heads(table), "protocol"], rows)


def _bold(text: str, table: Table, column: Column, row: Row) -> str:
    return f"**{text}**" if row.cells.get(column) in table.best.get(column, []) else text


def _lines(head: list[str], rows: Sequence[Sequence[str]]) -> list[str]:
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in [head, *rows]]
    lines = ["| " + " | ".join(row) + " |" for row in escaped]
    return [lines[0], "|" + "---|" * len(head), *lines[1:]]


def cells(board: Board) -> list[dict[str, Any]]:
    """Give every cell of every table as plain values, with the files its value comes from."""
    found = []
    for table in board.tables:
        for row in table.rows:
            for c, cell in row.cells.items():
                found.append({
                    "track": table.track, "data": table.data, "recipe": row.label,
                    "metric": c.metric, "features": c.features, "checkpoint": c.checkpoint,
                    "measurement": c.measurement, "direction": c.direction, "mean": cell.mean,
                    "std": cell.std, "runs": len(cell.scores),
                    "best": cell in table.best.get(c, []),
                    "protocols": row.protocols,
                    "sources": [
                        {"run": str(s.run.folder), "where": s.source, "key": str(s.key),
                         "value": s.value, "protocol": s.protocol.id if s.protocol else None}
                        for s in cell.scores
                    ],
                })  # fmt: skip
    return found


def costs(board: Board) -> list[dict[str, Any]]:
    """Give every cost of every recipe as plain values, with the files that it comes from."""
    return [
        {
            "recipe": cost.label, "data": cost.data, "hardware": cost.hardware,
            "runs": [str(run.folder) for run in cost.runs],
            "amounts": [
                {
                    "cost": amount.kind.title, "values": amount.values,
                    "sources": [
                        {"run": str(s.run.folder), "where": f"run.json {s.where}", "value": s.value}
                        for s in amount.sources
                    ],
                }
                for amount in cost.amounts
            ],
        }
        for cost in board.costs
    ]  # fmt: skip


def as_json(board: Board) -> str:
    """Give the cells, the protocols by id, the costs and what was left out."""
    scores = [s for t in board.tables for r in t.rows for c in r.cells.values() for s in c.scores]
    protocols = {s.protocol.id: s.protocol.as_dict() for s in scores if s.protocol is not None}
    content = {
        "cells": cells(board), "protocols": protocols, "costs": costs(board),
        "left_out": board.left_out,
    }  # fmt: skip
    return json.dumps(content, indent=2) + "\n"


def as_csv(board: Board) -> str:
    """Give a line for each cell of a leaderboard, and for each cost."""
    file = io.StringIO()
    names = (
        "track", "data", "recipe", "metric", "features", "checkpoint", "measurement", "mean", "std",
        "runs", "best",
    )  # fmt: skip
    writer = csv.DictWriter(file, [*names, "folders"], extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for cell in cells(board):
        writer.writerow({**cell, "folders": " ".join(s["run"] for s in cell["sources"])})
    for cost in costs(board):
        for amount in cost["amounts"]:
            folders = list(dict.fromkeys(s["run"] for s in amount["sources"]))
            for value in amount["values"]:
                writer.writerow({
                    "track": "cost", "data": cost["data"], "recipe": cost["recipe"],
                    "metric": amount["cost"], "mean": value, "runs": len(folders),
                    "folders": " ".join(folders),
                })  # fmt: skip
    return file.getvalue()
