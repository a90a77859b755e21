"""Metrics that are no scores of generated images: a group of them is asked for by its name.

``python evaluate.py run=RUN metrics=NAME`` measures the group that ``conf/evaluate.yaml`` names so,
with its settings there. A group says which capability of a method it needs, and gives findings with
the protocol that each stands on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from callbacks.tracker import protocol
from lightning_modules.base import ImageModule
from metrics.extractors import FeatureExtractor, build_extractor
from metrics.protocol import ProtocolRecord
from metrics.reference import ReferenceStatistics

Point = tuple[float, float]


class UsedRun(Protocol):
    """A trained run, as groups use it.

    Attributes:
        folder: of the run.
        config: its resolved settings.
        module: its model, on this process's device.
        asked: what the command line asked for: n, seed, weights, precision, ...
        content: of the data, "images" or "points".
        share: (rank, number of processes).
    """

    folder: Path
    config: dict[str, Any]
    module: ImageModule
    asked: dict[str, Any]

    @property
    def content(self) -> str: ...

    @property
    def share(self) -> tuple[int, int]: ...

    def variant(
        self, sampling: Mapping[str, Any], weights: str, restoring: Mapping[str, Any] = ...
    ) -> ImageModule:
        """Give the model again, with other settings of sampling or restoring, other weights."""


class Finding(NamedTuple):
    """Scores that stand on one protocol, and ``details`` to keep and print beside them."""

    scores: dict[str, float]
    protocol: ProtocolRecord
    details: dict[str, Any] = {}


class Chart(NamedTuple):
    """What a plot shows: by its name, the points of each line.

    Attributes:
        title, x, y: words.
        lines: by label; a line whose label ends in a star is drawn above the others, dashed.
        log_x, log_y: whether the axes are logarithmic.
    """

    title: str
    x: str
    y: str
    lines: dict[str, list[Point]]
    log_x: bool = False
    log_y: bool = False


@dataclass
class Report:
    """What a group measured.

    Attributes:
        findings: for ``evaluation.json``.
        rows: of one table, by column.
        charts: by the name of a file.
        text: to print.
        files: further ones, their text by name.
    """

    findings: list[Finding] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    charts: dict[str, Chart] = field(default_factory=dict)
    text: str = ""
    files: dict[str, str] = field(default_factory=dict)


class MetricGroup(ABC):
    """A group of metrics.

    Attributes:
        capability: what a method must provide (see ``lightning_modules.base``).
        tells_all: whether its text says what was found, so that no entry need be printed.
    """

    capability: str
    tells_all: bool = False

    @abstractmethod
    def check(self, run: UsedRun) -> None:
        """Refuse, before any work, what cannot be measured of this run (ValueError)."""

    @abstractmethod
    def measure(self, run: UsedRun, data: Any) -> Report:
        """Measure, sharing the work with other processes; rank 0's report counts.

        Args:
            run: what is measured.
            data: the run's data module, set up.
        """


def run_extractor(run: UsedRun) -> FeatureExtractor:
    """Give the feature network asked for, by default the one that the run tracked."""
    tracked = run.config["callbacks"].get("generation") or {}
    asked = run.asked
    if asked["extractor"] is None:
        asked["extractor"] = tracked.get("extractor", "inception")
        asked["extractor_weights"] = asked["extractor_weights"] or tracked.get("extractor_weights")
        asked["extractor_sha256"] = asked["extractor_sha256"] or tracked.get("extractor_sha256")
    return build_extractor(
        asked["extractor"],
        asked["extractor_weights"],
        asked["extractor_sha256"],
        device=run.module.device,
    )


def samples_protocol(
    run: UsedRun,
    module: ImageModule,
    weights: str,
    extractor: FeatureExtractor,
    reference: ReferenceStatistics,
    dataset: str,
) -> ProtocolRecord:
    """Give the protocol of scores of images that ``module`` makes, beside the training split."""
    return protocol(
        extractor,
        reference,
        dataset=dataset,
        n=run.asked["n"],
        weights=weights,
        precision=str(run.config["trainer"]["precision"]),
        seed=run.asked["seed"],
        sampling=module.sampling_record(),
    )


def combinations(settings: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Yield every choice of one value for each setting, the last setting changing fastest."""
    for values in product(*settings.values()):
        yield dict(zip(settings, values, strict=True))


def told(row: Mapping[str, Any], settings: Mapping[str, Sequence[Any]], without: str) -> str:
    """Give what a line of a chart is called: the settings with several values, but for its axis."""
    many = [key for key, values in settings.items() if len(values) > 1 and key != without]
    return ", ".join(str(row[key]) for key in many if row.get(key) is not None) or "all"
