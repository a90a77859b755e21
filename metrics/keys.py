"""What a score's key says: ``gen/fid/fmnist_cnn@10k`` and the like."""

from __future__ import annotations

import re
from dataclasses import dataclass

RISING = frozenset(
    {"precision", "recall", "density", "coverage", "score", "top1", "psnr", "ssim", "accuracy"}
)
"""Scores that grow as they get better, by a word of their name; the others fall."""
NEITHER = frozenset({"std", "distance"})
"""Words of what is no better for being lower or higher."""


@dataclass(frozen=True, order=True)
class ScoreKey:
    """The parts of a key ``track[/place...]/metric[/features]``.

    Attributes:
        track: gen, restore, probe, val, ...
        place: what lies between track and metric: a task, a baseline, a kind of probe.
        metric: e.g. ``fid-raw``, ``psnr-masked``, ``top1@1000``.
        features: extractor and number of images, ``fmnist_cnn@10k``; "" where there is none.
    """

    track: str
    place: tuple[str, ...]
    metric: str
    features: str = ""

    @property
    def direction(self) -> int:
        """1 where higher is better, -1 where lower is, 0 where neither."""
        return direction(self.metric)

    def __str__(self) -> str:
        features = [self.features] if self.features else []
        return "/".join([self.track, *self.place, self.metric, *features])


def parse_key(key: str) -> ScoreKey:
    """Give the parts of ``key``; a last part ``name@n`` is features unless it names a metric."""
    track, *parts = key.split("/")
    features = ""
    if len(parts) > 1 and "@" in parts[-1] and not direction(parts[-1]) > 0:
        features = parts.pop()
    metric = parts.pop() if parts else ""
    return ScoreKey(track, tuple(parts), metric, features)


def direction(metric: str) -> int:
    """Give 1 where a metric of this name is better when higher, -1 when lower, 0 for neither."""
    words = set(re.split(r"[-_@/]", metric))
    if words & NEITHER:
        return 0
    return 1 if words & RISING else -1
