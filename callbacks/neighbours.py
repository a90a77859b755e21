"""Nearest training images of samples: does the model make new images, or remember old ones?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from callbacks.generation_metrics import GenerationTracker
from callbacks.pictures import grid, log_picture, save_picture
from functional.images import to_float
from lightning_modules.base import ImageModule
from lightning_modules.generation import generate
from metrics.gather import broadcast_result
from metrics.manifold import Neighbours, nearest_in_chunks
from metrics.protocol import metric_key

SPACES = ("pixels", "features")
CHUNK_VALUES = 1 << 22
"""Pixels of training images held at once: 32 MiB of float64."""

Embed = Callable[[Tensor], Tensor]
"""uint8 images ``(N, C, H, W)`` -> float64 points ``(N, d)``."""


class NearestNeighbours(Callback):
    """Shows samples beside the training images nearest to them, and tells how near those are.

    In ``samples/neighbours_<images seen>.png`` a row is a sample and its ``k`` nearest training
    images. The median distance of ``n`` samples to the nearest one is reported as
    ``gen/nn_distance/<space>@<n>``, and that of up to as many images of the validation split (of
    the test split where that is empty) as ``gen/nn_distance-heldout/...``. About equal, samples are
    as new as images never seen; a far smaller distance means copies.

    Made in the test, and after every so many validations, by rank 0; the others wait for its
    result. Methods that cannot sample and data that are not images are left alone.

    Args:
        space: "pixels", Euclidean over all values of images in [-1, 1]; or "features", Euclidean in
            the feature space of ``callbacks.generation``. Where training mirrors images, their
            mirror images count as training images too.
        n: samples whose distance is measured.
        rows: samples shown.
        k: neighbours shown of each.
        every_n_validations: how often on the way; None for the test alone.
        seed: names the stream of samples.
    """

    def __init__(
        self,
        space: str,
        n: int,
        rows: int,
        k: int,
        every_n_validations: int | None,
        seed: int,
    ) -> None:
        if space not in SPACES:
            raise ValueError(f"space={space!r} is unknown; use one of {', '.join(SPACES)}")
        counts = {"n": n, "rows": rows, "k": k, "every_n_validations": every_n_validations}
        for name, count in counts.items():
            if count is not None and count < 1:
                raise ValueError(f"{name}={count}; expected at least 1")
        self.space, self.n, self.rows, self.k = space, n, rows, k
        self.every_n_validations, self.seed = every_n_validations, seed
        self.validations = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self.space == "features" and _tracker(trainer) is None:
            raise ValueError(
                "neighbours in feature space need the network of callbacks.generation, which is "
                "left out; set callbacks.neighbours.space=pixels"
            )

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        self.validations += 1
        if self.every_n_validations and self.validations % self.every_n_validations == 0:
            self._show(trainer, pl_module)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._show(trainer, pl_module)

    def _show(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, ImageModule)
        data = trainer.datamodule  # type: ignore[attr-defined]
        if "sample" not in module.capabilities or data.content != "images":
            return
        scores = broadcast_result(lambda: self._measure(trainer, module))
        for key, value in scores.items():
            module.report(key, value)

    def _measure(self, trainer: Trainer, module: ImageModule) -> dict[str, float]:
        """Save the picture; give the median distances by metric key."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        count = max(self.n, self.rows)
        samples = torch.cat([chunk.images for chunk in generate(module, count, self.seed)])
        held_out = held_out_images(data, self.n)
        near = nearest_training_images(
            torch.cat([samples, held_out]), data, self.k, self._embedding(trainer, module)
        )
        nearest = near.distances[:, 0].tolist()
        if self.space == "pixels":
            nearest = [distance / 127.5 for distance in nearest]
        scores = self._medians("nn_distance", nearest[: self.n])
        scores |= self._medians("nn_distance-heldout", nearest[count:])
        shown = near.indices[: self.rows].cpu()
        self._save(trainer, module, rows(samples[: self.rows], shown, data), scores)
        return scores

    def _medians(self, name: str, distances: list[float]) -> dict[str, float]:
        key = metric_key("gen", name, self.space, max(1, len(distances)))
        return {key: median(distances)} if distances else {}

    def _embedding(self, trainer: Trainer, module: ImageModule) -> Embed:
        device = module.device if module.device.type == "cuda" else torch.device("cpu")
        if self.space == "pixels":
            # Whole numbers in float64: distances are exact, that of a copy is 0.
            return lambda images: images.to(device).flatten(1).double()
        tracker = _tracker(trainer)
        assert tracker is not None and tracker.extractor is not None
        extractor = tracker.extractor
        return lambda images: extractor(images).features.double()

    def _save(
        self, trainer: Trainer, module: ImageModule, images: Tensor, scores: dict[str, float]
    ) -> None:
        picture, seen = grid(to_float(images)), module.images_seen
        save_picture(
            picture, Path(trainer.default_root_dir) / "samples" / f"neighbours_{seen:09d}.png"
        )
        told = ", ".join(f"{key} {value:.3g}" for key, value in scores.items())
        caption = f"{seen:,} images seen; a sample, then its nearest training images; {told}"
        log_picture(trainer, "pictures/neighbours", picture, caption, seen)

    def state_dict(self) -> dict[str, Any]:
        return {"validations": self.validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.validations = state_dict["validations"]


def nearest_training_images(queries: Tensor, data: Any, k: int, embed: Embed) -> Neighbours:
    """Give the nearest training images of each query, exactly, a chunk of them at a time.

    Args:
        queries: uint8 ``(N, C, H, W)``.
        data: the data module; index i + (size of the split) stands for image i mirrored, where
            training mirrors images.
        k: how many; all where there are fewer.
        embed: gives the points whose distance counts.
    """
    size, (_, *shape) = data.split_size("train"), queries.shape
    chunk = min(500, max(1, CHUNK_VALUES // torch.Size(shape).numel()))
    k = min(k, size)
    views = [queries, queries.flip(-1)] if data.horizontal_flip else [queries]
    points = torch.cat([embed(part) for view in views for part in torch.split(view, chunk)])
    near = nearest_in_chunks(points, map(embed, data.uint8_batches("train", chunk)), k)
    # A mirrored query meets an image where the query meets the mirrored image.
    indices = [part + i * size for i, part in enumerate(near.indices.chunk(len(views)))]
    distances = torch.cat(near.distances.chunk(len(views)), dim=1)
    kept = distances.topk(k, dim=1, largest=False)
    return Neighbours(torch.cat(indices, dim=1).gather(1, kept.indices), kept.values)


def rows(samples: Tensor, indices: Tensor, data: Any) -> Tensor:
    """Give uint8 rows ``(N, 1 + k, C, H, W)``: a sample, then the training images at ``indices``.

    Args:
        samples: uint8 ``(N, C, H, W)``.
        indices: int64 ``(N, k)``, of :func:`nearest_training_images`.
    """
    flat, size = indices.flatten(), data.split_size("train")
    found = data.splits.train.pixels(flat % size).cpu()
    found = torch.where((flat >= size).view(-1, 1, 1, 1), found.flip(-1), found)
    return torch.cat([samples[:, None], found.view(*indices.shape, *samples.shape[1:])], dim=1)


def held_out_images(data: Any, n: int) -> Tensor:
    """Give up to ``n`` images, evenly spaced over the first split of validation and test that has
    any: uint8 ``(m, C, H, W)``, m 0 where neither has."""
    for split in ("validation", "test"):
        if size := data.split_size(split):
            stride = max(1, size // n)
            return torch.cat(list(data.uint8_batches(split, 500, 0, stride)))[:n]
    return torch.empty(0, data.channels, data.image_size, data.image_size, dtype=torch.uint8)


def _tracker(trainer: Trainer) -> GenerationTracker | None:
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return next((c for c in callbacks if isinstance(c, GenerationTracker)), None)
