"""Every score of a run with the protocol it stands on and the file that holds it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from comparison.runs import Run
from metrics.keys import ScoreKey, parse_key
from metrics.protocol import ProtocolRecord

TRACKS = ("gen", "likelihood", "restore", "probe")
"""In this order; other tracks come after. ``val`` and ``test`` are losses of one method each."""
LOSSES = ("val", "test", "train")
POINT = re.compile(r"_std$|-at-\d+$")
"""Ends the metric of a KID's deviation, and of one point of a chain: no scores of their own."""
FINAL, BEST, SEEN = "final", "best checkpoint", "best while training"
CHECKPOINTS = (FINAL, BEST, SEEN)


@dataclass(frozen=True, eq=False)
class Score:
    """One value.

    Attributes:
        run: whose it is.
        key: what was measured.
        checkpoint: of the weights: those of the end, the best checkpoint's, or, for FID, the lowest
            of all validations.
        value: as the file holds it.
        protocol: what it stands on; None where a run kept no record.
        source: the file, and where in it.
        drawn: of a score without a record, how the run's other images at the end were drawn.
    """

    run: Run
    key: ScoreKey
    checkpoint: str
    value: float
    protocol: ProtocolRecord | None
    source: str
    drawn: str = ""

    @property
    def measurement(self) -> str:
        """Equal for scores that were measured alike, whatever was measured; "" unrecorded."""
        return self.protocol.measurement_id if self.protocol else ""

    @property
    def sampling(self) -> str:
        """How the images were drawn, where that is more than one pass of the usual weights."""
        if self.protocol is None:
            return self.drawn
        usual = "ema" if (self.run.config.get("callbacks") or {}).get("ema") else "raw"
        weights = self.protocol.weights
        # "fid-raw" says so by its name, beside the same run's other scores.
        told = weights not in (usual, "raw" if self.key.metric.endswith("-raw") else usual)
        return ", ".join(filter(None, [sampling(self.protocol), f"{weights} weights" * told]))


def sampling(record: ProtocolRecord) -> str:
    """Give sampler, evaluations and what else of a record a table names a row after."""
    sampler = record.sampler.removeprefix("generator, ")
    if record.corruption is not None:
        # After "restore TASK", where a method has several ways.
        sampler = sampler.partition(", ")[2]
    if sampler in ("", "one pass", "generator", "none"):
        return ""
    told = [sampler]
    told += [f"{record.nfe} NFE"] if record.nfe > 1 else []
    told += [f"eta {record.eta:g}"] if record.eta else []
    told += [f"guidance {record.guidance:g}"] if record.guidance else []
    return ", ".join(told)


def scores_of(run: Run) -> list[Score]:
    """Give the scores of one run; of two for the same thing, the one of ``run.json``."""
    found: dict[tuple[Any, ...], Score] = {}
    for score in (*_recorded(run), *_evaluated(run)):
        if score.key.track not in LOSSES and not POINT.search(score.key.metric):
            place = (score.key, score.checkpoint, score.measurement, score.sampling)
            found.setdefault(place, score)
    return _in_one_row(list(found.values()))


def _in_one_row(scores: list[Score]) -> list[Score]:
    """Say of scores of images that have no record how they were drawn, where there is one way."""
    own = [s for s in scores if s.key.track == "gen" and s.source.startswith("run.json")]
    ways = {s.sampling for s in own if s.protocol is not None}
    if len(ways) != 1:
        return scores
    (drawn,) = ways
    return [replace(s, drawn=drawn) if s in own and s.protocol is None else s for s in scores]


def _recorded(run: Run) -> Iterable[Score]:
    sections = {"final": (FINAL, "test"), "best": (SEEN, "validation")}
    for section, (checkpoint, stage) in sections.items():
        for text, value in (run.record.get(section) or {}).items():
            key = parse_key(text)
            # The best of every metric would be of another moment each.
            if checkpoint is FINAL or (key.track, key.metric) == ("gen", "fid"):
                protocol = _protocol(run, stage, text)
                yield Score(run, key, checkpoint, value, protocol, f"run.json {section}")


def _protocol(run: Run, stage: str, key: str) -> ProtocolRecord | None:
    id = run.record.get("protocol_of", {}).get(stage, {}).get(key)
    record = run.record.get("protocols", {}).get(id)
    return None if record is None else ProtocolRecord.from_dict(record)


def _evaluated(run: Run) -> Iterable[Score]:
    for number, entry in enumerate(run.evaluations):
        named = {"last": FINAL, "best": BEST}.get(entry["checkpoint"], entry["checkpoint"])
        protocol = ProtocolRecord.from_dict(entry["protocol"])
        for text, value in entry["scores"].items():
            source = f"evaluation.json {number}"
            yield Score(run, parse_key(text), named, value, protocol, source)
