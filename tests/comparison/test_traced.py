"""Every number of a comparison, in each of its files, is found again in the run folders."""

from __future__ import annotations

import csv
import json
import re
import statistics
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from comparison.board import build
from comparison.page import page
from comparison.report import write_all
from comparison.runs import find, read_all
from comparison.writers import as_csv, as_json, markdown
from tests.comparison.folders import RECORD, evaluated, final, run_folder, tracked

DIFFUSION = replace(RECORD, sampler="ddim", spacing="trailing", nfe=50, eta=0.0)
UNITS = {"minutes": 1 / 60}
SOURCE = re.compile(r"(?P<run>\S+) (?P<file>\S+?)(?P<place>( \S+)*): (?P<key>.+) = (?P<value>\S+)")


class Cell(NamedTuple):
    """A cell of a page's table: its text, what its title says, its class."""

    text: str
    title: str
    kind: str


class Tables(HTMLParser):
    """Cells of a page by table (its heading), row and column."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: dict[str, list[list[Cell]]] = {}
        self._heading, self._in, self._attributes = "", "", dict[str, str | None]()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("h2", "th", "td"):
            self._in, self._attributes, self._text = tag, dict(attrs), ""
        if tag == "tr":
            self.found.setdefault(self._heading, []).append([])

    def handle_data(self, data: str) -> None:
        if self._in:
            self._text += f" {data}" if self._text and self._in == "th" else data

    def handle_endtag(self, tag: str) -> None:
        if tag == "h2" and self._in:
            self._heading = self._text
        if tag in ("th", "td"):
            about = [self._attributes.get(name) or "" for name in ("title", "class")]
            self.found[self._heading][-1].append(Cell(self._text, *about))
        self._in = "" if tag == self._in else self._in


def held(run: Path, file: str, path: list[str]) -> float:
    """What a run's file holds at ``path``; an evaluation's scores are below ``scores``."""
    node: Any = json.loads((run / file).read_text())
    if file == "evaluation.json":
        node, path = node["evaluations"][int(path[0])]["scores"], path[1:]
    for part in path:
        node = node[part]
    return float(node)


def values(title: str) -> Iterator[float]:
    """The values that the lines of a title name, as the files that they name hold them."""
    for line in title.splitlines():
        told = SOURCE.match(line)
        assert told is not None, line
        key = told["key"].split() if told["file"] == "run.json" and not told["place"] else None
        value = held(Path(told["run"]), told["file"], key or [*told["place"].split(), told["key"]])
        assert float(told["value"]) == pytest.approx(value, rel=1e-3)
        yield value


def shown(text: str) -> list[float]:
    """The numbers of a cell: mean, deviation and how many, or several of one kind."""
    separated = re.sub(r",(?=\d{3})", "", text)
    return [float(part) for part in re.findall(r"[\d.]+(?:e-?\d+)?", separated)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two methods of several seeds with all that a run may record, and their comparison."""
    place = tmp_path_factory.mktemp("traced")
    for seed in (0, 1, 2):
        took = {
            "images_seen": 90_048 + seed, "wall_clock_seconds": 240.0 + 7 * seed,
            "images_per_second": 377.4 + seed, "seconds_per_1000_samples": 0.4 + seed / 10,
        }  # fmt: skip
        scores = {"kid": 0.0001 + seed / 1e6, "density": 0.5, "coverage": 0.31 + seed / 100}
        gan = run_folder(
            place / "r" / f"g{seed}", seed=seed, **took, **final(14.0 + seed, **scores)
        )
        evaluated(tracked(gan, [40.0, 20.0 + seed]), "best", RECORD, 12.0 + seed)
    ddpm = run_folder(place / "r" / "ddpm", "DDPM", **final(6.0, DIFFUSION, recall=0.6))
    evaluated(ddpm, "last", replace(DIFFUSION, nfe=10), 9.0)
    board = build(*read_all(find([place / "r"])))
    # Without plots, which take most of the time.
    texts = {
        "leaderboard.md": markdown(board), "leaderboard.csv": as_csv(board),
        "leaderboard.json": as_json(board), "index.html": page(board, {}, None),
    }  # fmt: skip
    write_all(place / "out", {name: text.encode() for name, text in texts.items()})
    return place


@pytest.fixture(scope="module")
def tables(place: Path) -> dict[str, list[list[Cell]]]:
    """The page's tables of scores and costs."""
    found = Tables((place / "out" / "index.html").read_text()).found
    return {heading: rows for heading, rows in found.items() if not heading.startswith("Settings")}


def test_every_number_on_the_page_is_in_the_files_that_it_names(
    tables: dict[str, list[list[Cell]]],
) -> None:
    assert len(tables) == 2 and "cost" in tables
    count = 0
    for (head, *rows), heading in zip(tables.values(), tables, strict=True):
        for row in rows:
            for title, cell in zip(head, row, strict=True):
                if cell.kind in ("text", "none") or title.text in ("#", "runs"):
                    continue
                found, told = list(values(cell.title)), shown(cell.text)
                scaled = [v * UNITS.get(title.text, 1) for v in found]
                if title.text == "NFE":
                    assert told == sorted(set(scaled))
                    continue
                assert told[0] == pytest.approx(statistics.fmean(scaled), rel=2e-2)
                if heading != "cost" and len(found) > 1:
                    assert told[1] == pytest.approx(statistics.stdev(found), rel=1e-3, abs=1e-9)
                    assert told[2] == len(found) == 3
                count += 1
    assert count >= 20


def test_the_markdown_says_what_the_page_says(
    place: Path, tables: dict[str, list[list[Cell]]]
) -> None:
    text = (place / "out" / "leaderboard.md").read_text()
    sections = re.split(r"^## ", text, flags=re.M)[1:]
    told = {}
    for section in sections:
        lines = [line for line in section.splitlines() if line.startswith("| ")]
        told[section.splitlines()[0]] = [
            [cell.strip().replace("**", "") for cell in line.strip("|").split("|")]
            for line in lines
        ]  # fmt: skip
    shown = {h: [[c.text.strip() for c in row] for row in rows] for h, rows in tables.items()}
    assert told == shown


def test_bold_is_what_the_page_calls_best(place: Path, tables: dict[str, list[list[Cell]]]) -> None:
    text = (place / "out" / "leaderboard.md").read_text()
    best = {c.text for rows in tables.values() for row in rows for c in row if c.kind == "best"}
    assert best == set(re.findall(r"\*\*(.+?)\*\*", text)) and "6" in best


def test_every_number_of_the_json_and_the_csv_is_in_the_files_that_it_names(place: Path) -> None:
    content = json.loads((place / "out" / "leaderboard.json").read_text())
    lines = list(csv.DictReader((place / "out" / "leaderboard.csv").open()))
    expected = []
    for cell in content["cells"]:
        found = [of_source(source, source["key"]) for source in cell["sources"]]
        assert cell["mean"] == statistics.fmean(found) and cell["runs"] == len(found)
        assert (cell["std"] or 0) == (statistics.stdev(found) if len(found) > 1 else 0)
        expected.append((cell["metric"], cell["mean"]))
    for cost in content["costs"]:
        for amount in cost["amounts"]:
            found = [of_source(s) * UNITS.get(amount["cost"], 1) for s in amount["sources"]]
            mean = [statistics.fmean(found)] if found else []
            assert amount["values"] == (sorted(set(found)) if amount["cost"] == "NFE" else mean)
            expected += [(amount["cost"], value) for value in amount["values"]]
    assert [(line["metric"], float(line["mean"])) for line in lines] == expected
    assert len(expected) > 20


def of_source(source: dict[str, Any], *key: str) -> float:
    """The value of a source of the JSON, which its file must hold."""
    file, *path = source["where"].split()
    value = held(Path(source["run"]), file, [*path, *key])
    assert value == source["value"]
    return value
