"""Scores of restored images against the strength of what corrupted them, as a chart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from PIL import Image

from callbacks.line_plot import line_plot
from functional.restore_tasks import split_name

METRICS = {"psnr": "PSNR (dB)", "ssim": "SSIM"}
STRENGTHS = {
    "denoise": "sigma of the noise, images in [0, 1]",
    "deblur": "sigma of the blur, pixels",
    "super-resolve": "pixels averaged along a side",
    "jpeg": "quality of JPEG",
}

Scores = Mapping[str, Mapping[str, Mapping[str, float]]]
"""By the task's name, the name of the outputs (the model's is empty) and the metric."""


class Chart(NamedTuple):
    """A picture and the name of its file."""

    name: str
    picture: Image.Image


def charts(
    scores: Scores, model: str, trained: Mapping[str, tuple[float, float]]
) -> Iterator[Chart]:
    """Yield a chart per kind of task with two strengths or more, and per metric.

    Args:
        scores: of all tasks.
        model: what the model is called in the chart.
        trained: by kind of task, the range of strengths that the model was trained on.
    """
    kinds: dict[str, dict[float, str]] = {}
    for task in scores:
        kind, strength = split_name(task)
        if strength is not None:
            kinds.setdefault(kind, {})[strength] = task
    for kind, tasks in kinds.items():
        for metric, label in METRICS.items():
            if len(tasks) > 1:
                picture = line_plot(
                    _lines(scores, tasks, metric, model),
                    f"{kind}: {label.split()[0]} of test images"
                    + (", shaded where trained" if kind in trained else ""),
                    STRENGTHS.get(kind, "per cent of the pixels"),
                    label,
                    trained.get(kind),
                )
                yield Chart(f"restore_{kind}_{metric}", picture)


def _lines(
    scores: Scores, tasks: Mapping[float, str], metric: str, model: str
) -> dict[str, list[tuple[float, float]]]:
    lines: dict[str, list[tuple[float, float]]] = {}
    for strength, task in tasks.items():
        for name, values in scores[task].items():
            if metric in values:
                lines.setdefault(name or model, []).append((strength, values[metric]))
    return lines
