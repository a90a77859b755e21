"""What recipes took: parameters, images, time and operations, each with the files that hold it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from comparison.runs import Run


class Kind(NamedTuple):
    """A cost that runs record: its title, the field of ``run.json``, in which unit, how shown."""

    title: str
    field: str
    scale: float
    form: str


KINDS = (
    Kind("parameters", "parameters", 1, ",.0f"),
    Kind("images seen", "images_seen", 1, ",.0f"),
    Kind("minutes", "wall_clock_seconds", 1 / 60, ".1f"),
    Kind("images/s", "images_per_second", 1, ",.0f"),
    Kind("forward GFLOP/image", "forward_gflop_per_image", 1, ".3g"),
    Kind("s per 1,000 samples", "seconds_per_1000_samples", 1, ".3g"),
)
NFE = Kind("NFE", "nfe", 1, ",.0f")
"""Evaluations for an image from noise; those of the protocols of a run, so there may be several."""


@dataclass(frozen=True, eq=False)
class Source:
    """A value as a run's ``run.json`` holds it, and where in it."""

    run: Run
    where: str
    value: float


@dataclass(frozen=True, eq=False)
class Amount:
    """What a recipe took of one kind: the mean over its runs, of NFE each value there is."""

    kind: Kind
    sources: tuple[Source, ...]

    @property
    def values(self) -> list[float]:
        """In the unit of the kind; none where no run recorded it."""
        found = [source.value * self.kind.scale for source in self.sources]
        if self.kind is NFE:
            return sorted(set(found))
        return [statistics.fmean(found)] if found else []

    @property
    def text(self) -> str:
        """As a person reads it."""
        return ", ".join(format(value, self.kind.form) for value in self.values) or "n/a"


@dataclass(frozen=True, eq=False)
class Cost:
    """What a recipe took, in the order of ``KINDS`` and then NFE."""

    label: str
    data: str
    runs: list[Run]
    amounts: list[Amount]
    hardware: str


def cost(label: str, runs: list[Run]) -> Cost:
    """Give what ``runs``, which are of one recipe, took."""
    amounts = [Amount(kind, tuple(_recorded(runs, kind))) for kind in KINDS]
    hardware = "; ".join(sorted({_hardware(run.record) for run in runs}))
    return Cost(label, runs[0].data, runs, [*amounts, Amount(NFE, tuple(_nfe(runs)))], hardware)


def _recorded(runs: Sequence[Run], kind: Kind) -> list[Source]:
    found = [(run, run.record.get(kind.field)) for run in runs]
    return [Source(run, kind.field, float(value)) for run, value in found if value is not None]


def _nfe(runs: Sequence[Run]) -> list[Source]:
    return [
        Source(run, f"protocols {id} nfe", float(record["nfe"]))
        for run in runs
        for id, record in run.record.get("protocols", {}).items()
        if not record.get("corruption") and record.get("sampler") != "none"
    ]


def _hardware(record: dict[str, Any]) -> str:
    processes, device = record.get("processes", 1), record.get("device", "?")
    return f"{processes} x {device}, {record.get('precision')}"
