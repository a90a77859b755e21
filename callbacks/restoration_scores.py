"""What scores of restored images are made of, in training and of a run that is done."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from functional.images import to_float
from functional.restore_tasks import RestoreTask
from functional.seeding import derive_seed, image_seeds
from lightning_modules.base import ImageModule
from metrics.classical import TUNING_IMAGES, tuned_strengths
from metrics.protocol import metric_key

log = logging.getLogger(__name__)

CHUNK = 50
"""Images restored at once, at most; few, so that processes have about equal shares of n."""


def test_chunks(
    data: Any, module: ImageModule, n: int, share: tuple[int, int]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield places and test images, float32 on the CPU, of the first n, a chunk at a time.

    Args:
        data: the data module.
        share: (rank, processes), which take chunks in turn.
    """
    size = min(CHUNK, module.chunk_size)
    batches = data.uint8_batches("test", size)
    for number, start in enumerate(range(0, n, size)):
        images = next(batches)[: n - start]
        if number % share[1] == share[0]:
            yield torch.arange(start, start + len(images)), to_float(images)


def tune(data: Any, module: ImageModule, task: RestoreTask, seed: int) -> dict[str, float]:
    """Give the strengths of the classical filters, chosen on the first training images."""
    clean = to_float(next(data.uint8_batches("train", TUNING_IMAGES)).to(module.device))
    seeds = image_seeds(derive_seed(seed, TUNING_IMAGES), range(len(clean)))
    strengths = tuned_strengths(clean, task.operator(seeds, module.device))
    for name, strength in strengths.items():
        log.info("restore/%s: %s at strength %.3g", task.name, name, strength)
    return strengths


def keyed(place: str, scores: dict[str, float], extractor: str | None, n: int) -> dict[str, float]:
    """Give ``scores`` by their keys; those in features say which features, of how many."""
    return {
        metric_key(place, name, *((extractor, n) if name.startswith("fid") else ())): value
        for name, value in scores.items()
    }
