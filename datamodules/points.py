"""Points in the plane: what a generative model does can be seen whole."""

from __future__ import annotations

import hashlib
import math
from abc import abstractmethod

import torch
from torch import Tensor

from datamodules.base import ImageDataModule
from datamodules.batch import Batch
from datamodules.order import Plan
from datamodules.store import ImageStore, Splits


class PointStore(ImageStore):
    """A split of points, float32 (N, 2, 1, 1), with their labels.

    recipe: what they were drawn by; their last bits may differ from machine to machine
    """

    in_memory = True

    def __init__(self, points: Tensor, labels: Tensor, recipe: str) -> None:
        self.points, self.labels, self.recipe = points, labels.to(torch.int64), recipe

    def pixels(self, indices: Tensor) -> Tensor:
        raise ValueError(f"{self.recipe.split()[0]} holds points in the plane, which have no bytes")

    def update(self, digest: hashlib._Hash) -> None:
        digest.update(self.recipe.encode())

    def subset(self, positions: Tensor) -> PointStore:
        content = hashlib.sha256(positions.numpy().tobytes()).hexdigest()
        return PointStore(
            self.points[positions], self.labels[positions], f"{self.recipe} at {content}"
        )

    def batch(self, plan: Plan) -> Batch:
        return Batch(self.points[plan.indices], self.labels[plan.indices], plan.indices)


class Points(ImageDataModule):
    """Points of a known distribution, as images of two channels and one pixel.

    size, validation_size, test_size: points in each split, always the same ones
    noise: standard deviation of the Gaussian added to each coordinate
    The other parameters are those of `ImageDataModule`.
    """

    content = "points"
    classes = 0

    def __init__(
        self,
        *,
        batch_size: int,
        channels: int,
        image_size: int,
        num_classes: int,
        seed: int,
        size: int,
        validation_size: int,
        test_size: int,
        noise: float,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            channels=channels,
            image_size=image_size,
            num_classes=num_classes,
            seed=seed,
            horizontal_flip=False,
        )
        if (channels, image_size) != (2, 1):
            raise ValueError(
                f"channels={channels} and image_size={image_size}: points in the plane are images "
                "of channels=2 and image_size=1"
            )
        sizes = {"size": size, "validation_size": validation_size, "test_size": test_size}
        for key, value in sizes.items():
            if value < 2:
                raise ValueError(f"{key}={value} points; use 2 or more")
        if not 0 <= noise <= 0.2:
            raise ValueError(f"noise={noise} must lie in [0, 0.2]: points fill about [-1, 1]")
        self.size, self.validation_size, self.test_size = size, validation_size, test_size
        self.noise = noise

    @abstractmethod
    def place(self, u: Tensor, labels: Tensor) -> Tensor:
        """Points (N, 2) without noise, of uniform `u` (N,) in [0, 1) and of `labels` (N,)."""

    def open_splits(self) -> Splits:
        """The splits, each of a stream of its own; training is the reference whole."""
        self.check_classes(self.classes)
        sizes = (self.size, self.validation_size, self.test_size)
        train, validation, test = (self._draw(size, i) for i, size in enumerate(sizes))
        return Splits(train, validation, test, train)

    def points(self, split: str) -> Tensor:
        """All points of "train", "validation" or "test", float32 (N, 2, 1, 1)."""
        store = self._store(split)
        assert isinstance(store, PointStore)
        return store.points

    def _draw(self, size: int, stream: int) -> PointStore:
        generator = torch.Generator().manual_seed(stream)
        u = torch.rand(size, generator=generator, dtype=torch.float64)
        jitter = torch.randn(size, 2, generator=generator, dtype=torch.float64)
        kind = torch.arange(size) % max(self.classes, 1)
        points = (self.place(u, kind) + self.noise * jitter).float().view(size, 2, 1, 1)
        labels = kind if self.classes else torch.full((size,), -1)
        return PointStore(points, labels, f"{self.name} {size} {stream} {self.noise}")


class SwissRoll(Points):
    """The roll of Sohl-Dickstein et al. (2015), figure 1: one turn and a half, no labels."""

    name = "swiss_roll"

    def place(self, u: Tensor, labels: Tensor) -> Tensor:
        angle = 1.5 * math.pi * (1 + 2 * u)
        return _polar(0.9 * angle / (4.5 * math.pi), angle)


class Spiral(Points):
    """Two arms that wind once about the origin; the arm is the label."""

    name = "spiral"
    classes = 2

    def place(self, u: Tensor, labels: Tensor) -> Tensor:
        radius = 0.1 + 0.8 * u.sqrt()
        return _polar(radius, 2 * math.pi * radius / 0.9 + math.pi * labels)


class TwoModes(Points):
    """Two Gaussians at (-0.5, 0) and (0.5, 0), of which all is known; the mode is the label."""

    name = "two_modes"
    classes = 2

    def place(self, u: Tensor, labels: Tensor) -> Tensor:
        return torch.stack([labels - 0.5, torch.zeros_like(u)], dim=1)


def _polar(radius: Tensor, angle: Tensor) -> Tensor:
    return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
