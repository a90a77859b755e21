"""Scores of several sets of outputs for the same images, gathered in the images' order."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from functional.images import to_uint8
from metrics.gather import broadcast_result, gather_rows
from metrics.generation import GenerationMetrics
from metrics.restoration import image_scores


class ScoreTable:
    """Means of image scores, and FID, by the name of a set of outputs.

    Args:
        fid: makes a scorer of FID, or gives None where none is wanted.
    """

    def __init__(self, fid: Callable[[], GenerationMetrics | None]) -> None:
        self._make_fid = fid
        self._names: dict[str, list[str]] = {}
        self._rows: dict[str, list[Tensor]] = {}
        self._fids: dict[str, dict[str, GenerationMetrics]] = {}

    def add(
        self,
        name: str,
        indices: Tensor,
        images: Tensor,
        clean: Tensor,
        hidden: Tensor | None,
        further: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Score outputs ``images`` of ``clean``, ``(N, C, H, W)`` in [-1, 1] on the CPU.

        Args:
            name: of the set.
            indices: int64 ``(N,)``, places of the images in their split.
            hidden: bool ``(N, 1, H, W)``, the pixels that were hidden; None where none was.
            further: scores ``(N,)`` of each image, by name.
        """
        scores = image_scores(images, clean, hidden) | dict(further or {})
        self._names[name] = list(scores)
        values = torch.stack([indices.double(), *scores.values()], dim=1)
        self._rows.setdefault(name, []).append(values)
        outputs = {"fid": images}
        if hidden is not None:
            outputs["fid-pasted"] = torch.where(hidden, images, clean)
        for metric, shown in outputs.items():
            scorer = self._scorer(name, metric)
            if scorer is not None:
                scorer.update(to_uint8(shown), indices)

    def compute(self) -> dict[str, dict[str, float]]:
        """Give, on all ranks, each set's scores by name; rank 0 must have added to each set."""
        fids = {name: list(scorers) for name, scorers in self._fids.items()}
        names, fids = broadcast_result(lambda: (self._names, fids))
        return {
            name: self._means(name, metrics) | self._distances(name, fids.get(name, []))
            for name, metrics in names.items()
        }

    def _means(self, name: str, metrics: list[str]) -> dict[str, float]:
        rows = gather_rows(self._rows.get(name, []), (1 + len(metrics),), torch.float64)
        values = broadcast_result(lambda: means(rows))
        return dict(zip(metrics, values, strict=True))

    def _distances(self, name: str, metrics: list[str]) -> dict[str, float]:
        scorers = {metric: self._scorer(name, metric) for metric in metrics}
        return {metric: s.compute()["fid"] for metric, s in scorers.items() if s is not None}

    def _scorer(self, name: str, metric: str) -> GenerationMetrics | None:
        scorers = self._fids.setdefault(name, {})
        if metric not in scorers and (made := self._make_fid()) is not None:
            scorers[metric] = made
        return scorers.get(metric)


def means(rows: Tensor) -> list[float]:
    """Give the mean of each column but the first, in the order that the first column says."""
    ordered = rows[rows[:, 0].argsort(), 1:]
    return ordered.mean(dim=0).tolist()  # type: ignore[no-any-return]
