"""Everything a comparison shows, gathered from runs: tables, costs, what was left out and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from comparison.costs import Cost, cost
from comparison.runs import Run
from comparison.scores import Score, scores_of
from comparison.settings import labels, recipe_id
from comparison.tables import Table, tables

COUNTED = ("finished", "trained")
"""Status of a run whose final scores count; of others only what they say themselves is shown."""


@dataclass(eq=False)
class Board:
    """A comparison.

    Attributes:
        runs: that could be read, the newest of each recipe and seed where there are several.
        labels: by run, what its recipe is called.
        left_out: by folder, why its scores are in no table.
    """

    runs: list[Run]
    labels: dict[Run, str]
    tables: list[Table]
    costs: list[Cost]
    left_out: dict[str, str] = field(default_factory=dict)

    def of_recipe(self) -> dict[str, list[Run]]:
        """Give runs by recipe."""
        found: dict[str, list[Run]] = {}
        for run in self.runs:
            found.setdefault(self.labels[run], []).append(run)
        return found


def build(runs: Sequence[Run], broken: dict[Path, str] | None = None) -> Board:
    """Give the comparison of ``runs``; ``broken`` says why other folders could not be read."""
    left_out = {str(folder): reason for folder, reason in (broken or {}).items()}
    kept, repeated = newest_of_each_seed(runs)
    for run in repeated:
        left_out[str(run.folder)] = f"repeats seed {run.seed} of a newer run of the same settings"
    named = labels(kept)
    by_run = {run: named[recipe_id(run)] for run in kept}
    scores: list[Score] = []
    for run in kept:
        if run.status not in COUNTED:
            left_out[str(run.folder)] = why_unfinished(run)
        else:
            try:
                scores += scores_of(run)
            except (ValueError, KeyError, TypeError) as error:
                left_out[str(run.folder)] = f"its scores cannot be read: {error}"
    costs = [cost(label, group) for label, group in _grouped(kept, by_run).items()]
    costs.sort(key=lambda cost: (cost.data, cost.label))
    return Board(kept, by_run, tables(scores, by_run), costs, left_out)


def newest_of_each_seed(runs: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    """Give runs of which no two have one recipe and one seed, and the older ones left over.

    A finished run goes before one that is not.
    """
    order = sorted(runs, key=lambda r: (r.status in COUNTED, str(r.record.get("started", ""))))
    kept: dict[tuple[str, int], Run] = {}
    repeated = []
    for run in order:
        place = (recipe_id(run), run.seed)
        if place in kept:
            repeated.append(kept[place])
        kept[place] = run
    return sorted(kept.values(), key=lambda run: str(run.folder)), repeated


def why_unfinished(run: Run) -> str:
    """Say what became of a run that has no final scores."""
    seen = run.record.get("images_seen")
    told = run.status + (f" at {seen:,} images" if seen else "")
    error = run.record.get("error")
    return f"{told}: {error}" if error else told


def _grouped(runs: Sequence[Run], named: dict[Run, str]) -> dict[str, list[Run]]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        if run.status in COUNTED:
            groups.setdefault(named[run], []).append(run)
    return groups
