"""Images kin to given ones: variations, and another style."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_modules.base import ImageModule
from tasks.base import ImageTask
from tasks.sources import Source


@dataclass(frozen=True)
class Variation(ImageTask):
    """Brings an image part of the way to noise and lets the model draw it anew from there.

    Attributes:
        strength: the share of noise that it begins from; 0 gives the image back, 1 a new one.
    """

    strength: float
    capability = "vary"

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise ValueError(f"strength={self.strength} lies outside [0, 1]; usual is 0.6")

    def results(
        self, module: ImageModule, images: Tensor, sources: Sequence[Source], seeds: Sequence[int]
    ) -> Tensor:
        return module.vary(images, self.strength, seeds=seeds)

    def sampling_record(self, module: ImageModule) -> dict[str, Any]:
        return module.varying_record(self.strength)


@dataclass(frozen=True)
class Style(Variation):
    """Draws an image as the model draws: one of another domain, or as one of another class.

    Attributes:
        label: the class, of a model that has classes; None for none.
    """

    label: int | None

    def check_model(self, module: ImageModule) -> str | None:
        classes = int(getattr(module, "num_classes", 0))
        if self.label is not None and not 0 <= self.label < classes:
            has = f"classes 0 to {classes - 1}" if classes else "no classes; leave label out"
            raise ValueError(f"label={self.label}: this model has {has}")
        return None

    def results(
        self, module: ImageModule, images: Tensor, sources: Sequence[Source], seeds: Sequence[int]
    ) -> Tensor:
        labels = None if self.label is None else torch.full((len(images),), self.label)
        return module.vary(images, self.strength, seeds=seeds, labels=labels)
