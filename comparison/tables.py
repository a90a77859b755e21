"""Leaderboards: a row is a recipe, a column is one metric under one measurement."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from comparison.scores import CHECKPOINTS, SEEN, TRACKS, Score
from metrics.keys import ScoreKey
from metrics.protocol import MEASUREMENT, ProtocolRecord, differences

ORDER = (
    "fid", "kid", "precision", "recall", "density", "coverage", "inception_score",
    "psnr", "ssim", "top1",
)  # fmt: skip
TITLES = {
    "gen": "images from noise", "likelihood": "bits per dimension",
    "probe": "what features are worth",
}  # fmt: skip
UNTRAINED = "-random"
"""Ends the kind of a probe of the same model without its training."""
FLOOR = "floor"
"""The place of what no output can be expected to beat: test images as they are."""


@dataclass(frozen=True, order=True)
class Column:
    """What a column holds: values of one metric that were measured alike, of one checkpoint."""

    place: int
    metric: str
    features: str
    checkpoint: str
    measurement: str
    direction: int = field(compare=False)

    @property
    def title(self) -> str:
        better = {1: "↑", -1: "↓"}.get(self.direction, "")
        features = f" {self.features}" if self.features else ""
        return f"{self.metric}{better}{features}, {self.checkpoint}"

    @property
    def ranks(self) -> bool:
        """Whether one value is better than another: not of images whose measurement is unknown."""
        return self.direction != 0 and bool(self.measurement or not self.features)


@dataclass(frozen=True, eq=False)
class Cell:
    """Mean and standard deviation over seeds, and the scores that they are of."""

    scores: tuple[Score, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(score.value for score in self.scores)

    @property
    def std(self) -> float | None:
        """Of the seeds, unbiased; None of one seed."""
        return statistics.stdev(s.value for s in self.scores) if len(self.scores) > 1 else None


@dataclass(eq=False)
class Row:
    """One recipe under one sampler, or a baseline that needs no model; the label names both."""

    label: str
    cells: dict[Column, Cell]
    rank: int | None = None

    @property
    def recipe(self) -> tuple[str, str]:
        """The label in two: the recipe, and its sampler or ""."""
        told = next((s.sampling for cell in self.cells.values() for s in cell.scores), "")
        end = f", {told}"
        return (
            (self.label.removesuffix(end), told) if self.label.endswith(end) else (self.label, "")
        )

    @property
    def protocols(self) -> list[str]:
        """The protocol ids that its scores stand on."""
        records = [s.protocol for cell in self.cells.values() for s in cell.scores]
        return sorted({record.id for record in records if record is not None})


@dataclass(eq=False)
class Table:
    """Scores of one track, or one task of restoring, on one set of data.

    Attributes:
        best: by column the cells that are best in it; none where there is nothing to compare.
        notes: what sets apart columns of one metric that were measured differently.
    """

    track: str
    data: str
    columns: list[Column]
    rows: list[Row]
    best: dict[Column, list[Cell]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        about = f", {TITLES[self.track]}" if self.track in TITLES else ""
        return f"{self.track}{about}: {self.data}"


def tables(scores: Iterable[Score], labels: dict[Any, str]) -> list[Table]:
    """Give one table for each track (task, of restoring) and set of data.

    Values of two measurements never share a column, so that nothing ranks them.

    Args:
        scores: of all runs, one run for each seed of a recipe.
        labels: by run, what its recipe is called.
    """
    groups: dict[tuple[int, str, str], list[Score]] = {}
    floors = []
    for score in scores:
        if score.key.track == "restore" and score.key.place[0] == FLOOR:
            floors.append(score)
            continue
        task = f"/{score.key.place[0]}" if score.key.track == "restore" else ""
        place = TRACKS.index(score.key.track) if score.key.track in TRACKS else len(TRACKS)
        groups.setdefault((place, score.key.track + task, score.run.data), []).append(score)
    return [
        table(track, data, [*group, *_floors_of(floors, track, data)], labels)
        for (_, track, data), group in sorted(groups.items(), key=lambda item: item[0])
    ]


def _floors_of(floors: Sequence[Score], track: str, data: str) -> list[Score]:
    return [s for s in floors if track.startswith("restore/") and s.run.data == data]


def table(track: str, data: str, scores: Sequence[Score], labels: dict[Any, str]) -> Table:
    """Give the table of ``scores``, which are of one track and one set of data."""
    cells: dict[str, dict[Column, list[Score]]] = {}
    for score in scores:
        row = cells.setdefault(row_label(score, labels), {})
        row.setdefault(column(score), []).append(score)
    rows = [
        Row(label, {c: Cell(tuple(_one_each(found))) for c, found in row.items()})
        for label, row in sorted(cells.items())
    ]
    columns = sorted({c for row in rows for c in row.cells})
    made = Table(track, data, columns, rows, _best(columns, rows), _notes(columns, scores))
    _rank(made)
    return made


def row_label(score: Score, labels: dict[Any, str]) -> str:
    """Give what the row of a score is called: a baseline's name, or recipe and sampler."""
    key, label = score.key, labels[score.run]
    if is_baseline(key):
        return "[test images]" if key.place[0] == FLOOR else f"[{key.place[1]}]"
    if key.track == "probe" and key.place[0].endswith(UNTRAINED):
        return f"{label}, untrained"
    return f"{label}, {score.sampling}" if score.sampling else label


def is_baseline(key: ScoreKey) -> bool:
    """Tell whether a score is of outputs that no model made."""
    return key.track == "restore" and (key.place[0] == FLOOR or len(key.place) > 1)


def column(score: Score) -> Column:
    """Give the column that a score belongs in."""
    key = score.key
    base = key.metric.split("-")[0].split("@")[0]
    place = ORDER.index(base) if base in ORDER else len(ORDER)
    name = key.metric
    if key.track != "restore" and key.place:
        name = f"{'/'.join(key.place).removesuffix(UNTRAINED)} {name}"
    return Column(
        place * len(CHECKPOINTS) + _place_of(score.checkpoint), name, key.features,
        score.checkpoint, score.measurement, key.direction,
    )  # fmt: skip


def _place_of(checkpoint: str) -> int:
    return CHECKPOINTS.index(checkpoint) if checkpoint in CHECKPOINTS else 0


def _one_each(scores: Sequence[Score]) -> list[Score]:
    """Leave one score for each run, and one of those of a baseline, which no model changes."""
    if is_baseline(scores[0].key):
        return [scores[0]]
    return list({score.run: score for score in scores}.values())


def _best(columns: Sequence[Column], rows: Sequence[Row]) -> dict[Column, list[Cell]]:
    best = {}
    for c in columns:
        cells = [r.cells[c] for r in rows if c in r.cells and not r.label.startswith("[")]
        if c.ranks and len({cell.mean for cell in cells}) > 1:
            leader = max(c.direction * cell.mean for cell in cells)
            best[c] = [cell for cell in cells if c.direction * cell.mean == leader]
    return best


def _rank(made: Table) -> None:
    """Sort rows and number them, by the first column that most of them have; others have none."""
    able = [c for c in made.columns if c.ranks and c.checkpoint != SEEN] or [
        c for c in made.columns if c.ranks
    ]
    if not able:
        return
    counts = {c: sum(c in row.cells for row in made.rows) for c in able}
    by = max(able, key=lambda c: (counts[c], -able.index(c)))
    made.rows.sort(key=lambda row: _order(row, by))
    ranked = [row for row in made.rows if by in row.cells and not row.label.startswith("[")]
    for place, row in enumerate(ranked, start=1):
        row.rank = place if len(ranked) > 1 else None


def _order(row: Row, by: Column) -> tuple[bool, float, str]:
    cell = row.cells.get(by)
    return cell is None, 0.0 if cell is None else -by.direction * cell.mean, row.label


def _notes(columns: Sequence[Column], scores: Sequence[Score]) -> list[str]:
    """Say what differs between columns of one metric that are kept apart, once for all metrics."""
    records = {s.measurement: s.protocol for s in scores if s.protocol is not None}
    notes = [
        f"{c.title} [unrecorded] is not ranked: no protocol record says how it was measured"
        for c in columns
        if c.direction and not c.ranks
    ]
    apart: dict[tuple[str, str], list[str]] = {}
    for one, other in itertools.combinations(columns, 2):
        if one.title == other.title:
            apart.setdefault((one.measurement, other.measurement), []).append(one.title)
    for (one_id, other_id), titles in apart.items():
        told = _difference(records.get(one_id), records.get(other_id))
        ids = " and ".join(f"[{id or 'unrecorded'}]" for id in (one_id, other_id))
        notes.append(f"{ids} of {'; '.join(titles)} are not compared: {told}")
    return notes


def _difference(one: ProtocolRecord | None, other: ProtocolRecord | None) -> str:
    if one is None or other is None:
        return "one of them has no protocol record"
    found = differences(one, other).items()
    return "; ".join(f"{name}: {a} against {b}" for name, (a, b) in found if name in MEASUREMENT)
