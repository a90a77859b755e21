"""A comparison as one HTML page that needs nothing but itself."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from html import escape, unescape
from pathlib import Path

from comparison.board import Board
from comparison.costs import Amount
from comparison.pictures import pictures, shown_runs
from comparison.settings import flatten
from comparison.tables import Cell, Column, Table
from comparison.writers import COSTS, heads, number, shown

ASSETS = Path(__file__).parent / "assets"
NONE = '<td class="none">n/a</td>'


def page(board: Board, plots: Mapping[str, str], progress: bytes | None, version: str = "") -> str:
    """Give the page.

    Args:
        board: what is compared.
        plots: SVG drawings by name.
        progress: a GIF of how samples come about, or None.
        version: where the page is served, what changes when it is made anew; "" in a file.
    """
    drawings = f'<div class="plots">{"".join(plots.values())}</div>'
    parts = [
        *(_table(table) for table in board.tables),
        _costs(board) if board.costs else "",
        _section("Plots", drawings) if plots else "",
        _gallery(board, progress),
        _differences(board),
        _left_out(board),
    ]
    body = "\n".join([_contents(parts), *filter(None, parts)])
    served = f' data-version="{escape(version)}"' if version else ""
    return (
        f'<!doctype html>\n<html lang="en"{served}>\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n<title>Comparison</title>\n'
        f"<style>\n{(ASSETS / 'page.css').read_text()}</style>\n</head>\n<body>\n"
        "<header><h1>Comparison</h1>"
        '<button id="theme" type="button">light / dark</button></header>\n'
        f"<p>{_summary(board)}</p>\n{body}\n<dialog><img></dialog>\n"
        f"<script>\n{(ASSETS / 'page.js').read_text()}</script>\n</body>\n</html>\n"
    )


def _summary(board: Board) -> str:
    data = len({run.data for run in board.runs})
    return (
        f"Runs: {len(board.runs)}, recipes: {len(board.of_recipe())}, sets of data: {data}. "
        "A column holds values of one measurement alone; ± is the standard deviation over seeds, "
        "their number in brackets. Hover over a value for the files that hold it."
    )


def _section(title: str, body: str) -> str:
    return f'<section id="{_anchor(title)}">\n<h2>{escape(title)}</h2>\n{body}\n</section>'


def _anchor(title: str) -> str:
    return re.sub(r"\W+", "-", title.lower()).strip("-")


def _contents(parts: Sequence[str]) -> str:
    """Give links to the sections of a page."""
    titles = [title for part in parts for title in re.findall("<h2>(.+?)</h2>", part)]
    short = [title.partition(": ")[0].partition(", ")[0] for title in titles]
    links = (
        f'<a href="#{_anchor(unescape(title))}">{name if short.count(name) == 1 else title}</a>'
        for title, name in zip(titles, short, strict=True)
    )
    return f"<nav>{''.join(links)}</nav>"


def _table(table: Table) -> str:
    head = _head(["#", "recipe", *heads(table), "protocol"], [1, len(table.columns) + 2])
    rows = []
    for row in table.rows:
        cells = [f'<td data-value="{row.rank}">{row.rank}</td>' if row.rank else "<td></td>"]
        recipe, sampler = map(escape, row.recipe)
        below = f"<span hidden>, </span><small>{sampler}</small>" * bool(sampler)
        cells += [f'<td class="text">{recipe}{below}</td>']
        cells += [_cell(row.cells.get(c), c, table) for c in table.columns]
        cells += [f'<td class="text"><code>{" ".join(row.protocols) or "n/a"}</code></td>']
        rows.append(f"<tr>{''.join(cells)}</tr>")
    notes = "".join(f"<li>{escape(note)}</li>" for note in table.notes)
    body = _scrolled(head, rows, "ranked")
    return _section(table.title, body + (f'<ul class="notes">{notes}</ul>' if notes else ""))


def _head(titles: Sequence[str], texts: Sequence[int], split: bool = True) -> str:
    """Give the head of a table; ``split``: what a column is of, below its metric."""
    cells = []
    for place, title in enumerate(titles):
        first, _, rest = title.partition(" ") if split and place not in texts else (title, "", "")
        comma = "<span hidden>,</span>" * first.endswith(",")
        small = f"<small>{escape(rest)}</small>" * bool(rest)
        kind = ' class="text"' * (place in texts)
        shown_title = escape(first.removesuffix(",")) + comma + small
        cells.append(f'<th scope="col"{kind}><button>{shown_title}</button></th>')
    return f"<thead><tr>{''.join(cells)}</tr></thead>"


def _cell(cell: Cell | None, column: Column, table: Table) -> str:
    if cell is None:
        return NONE
    sources = [
        f"{s.run.folder} {s.source}: {s.key} = {number(s.value)}"
        + (f" (protocol {s.protocol.id})" if s.protocol else "")
        for s in cell.scores
    ]
    return _traced(shown(cell), cell.mean, sources, cell in table.best.get(column, []))


def _amount(amount: Amount) -> str:
    if not amount.values:
        return NONE
    sources = [f"{s.run.folder} run.json: {s.where} = {s.value!r}" for s in amount.sources]
    return _traced(amount.text, amount.values[0], sources)


def _traced(text: str, value: float, sources: Sequence[str], best: bool = False) -> str:
    """Give the cell of a number that names the files it comes from."""
    kind, told = ' class="best"' if best else "", escape("\n".join(sources))
    return f'<td{kind} data-value="{value!r}" title="{told}">{escape(text)}</td>'


def _costs(board: Board) -> str:
    rows = []
    for cost in board.costs:
        cells = [
            f'<td class="text">{escape(cost.label)}</td><td class="text">{escape(cost.data)}</td>',
            f'<td data-value="{len(cost.runs)}">{len(cost.runs)}</td>',
            *map(_amount, cost.amounts),
            f'<td class="text">{escape(cost.hardware)}</td>',
        ]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return _section("cost", _scrolled(_head(COSTS, [0, 1, len(COSTS) - 1], split=False), rows))


def _scrolled(head: str, rows: Sequence[str], kind: str = "plain") -> str:
    body = "\n".join(rows)
    return (
        f'<div class="scroll"><table class="{kind}">{head}<tbody>\n{body}\n</tbody></table></div>'
    )


def data_uri(content: bytes, kind: str) -> str:
    """Give bytes as an address that holds them."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _figure(source: str, caption: str, about: str, kind: str = "picture") -> str:
    return (
        f'<figure class="{kind}"><img src="{source}" alt="{escape(about)}" loading="lazy">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _gallery(board: Board, progress: bytes | None) -> str:
    parts = []
    if progress is not None:
        caption = "how samples of the same seeds come about, from the first validation to the last"
        parts.append(_figure(data_uri(progress, "gif"), caption, caption, "wide"))
    for label, run in shown_runs(board).items():
        newest = {picture.kind: picture for picture in pictures(run)}
        figures = [
            _figure(
                data_uri(picture.path.read_bytes(), "png"),
                f"{picture.kind}, {picture.images_seen:,} images",
                f"{label}, {picture.kind}",
            )
            for picture in newest.values()
        ]
        head = f"<h3>{escape(label)} <small>{escape(run.name)}</small></h3>"
        parts.append(f'{head}<div class="gallery">{"".join(figures)}</div>')
    return _section("Pictures", "\n".join(parts)) if parts else ""


def _differences(board: Board) -> str:
    settings = {
        str(run.folder): {key: json.dumps(value) for key, value in flatten(run.config).items()}
        for run in board.runs
    }
    options = "".join(f"<option>{escape(name)}</option>" for name in settings)
    content = json.dumps(settings).replace("</", "<\\/")
    return _section(
        "Settings of two runs, where they differ",
        f'<div id="differences"><select aria-label="one run">{options}</select> '
        f'<select aria-label="another run">{options}</select>'
        '<div class="scroll"><table><thead><tr><th class="text">setting</th>'
        '<th class="text">one</th><th class="text">other</th></tr></thead><tbody></tbody></table>'
        f'</div></div><script type="application/json" id="settings">{content}</script>',
    )


def _left_out(board: Board) -> str:
    if not board.left_out:
        return ""
    lines = (
        f"<li><code>{escape(folder)}</code>: {escape(why)}</li>"
        for folder, why in sorted(board.left_out.items())
    )
    return _section("In no table", f"<ul>{''.join(lines)}</ul>")
