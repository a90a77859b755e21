"""What hides or spoils something of an image, and a method that restores it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from functional.corruption import BLACK, RANGE
from functional.degradation import Downsample, Grey
from functional.masking import MaskOperator
from functional.operators import AddedNoise, Operator
from functional.seeding import ImageNoise
from lightning_modules.base import ImageModule
from tasks.base import ImageShape, ImageTask, trained_kinds
from tasks.masks import Mask
from tasks.sources import Source, read

HIDING = frozenset({"inpaint", "random", "block", "grid"})
MID_GREY = 0.0


class Restoring(ImageTask):
    """A task by the method's ``restore``."""

    capability = "restore"

    def operator(self, module: ImageModule, images: Tensor, sources: Sequence[Source]) -> Operator:
        """Give what is done to ``images``; it says what of them the model may know."""
        raise NotImplementedError

    def corrupted(
        self, module: ImageModule, images: Tensor, sources: Sequence[Source]
    ) -> Tensor | None:
        return self.operator(module, images, sources).apply(images)

    def results(
        self, module: ImageModule, images: Tensor, sources: Sequence[Source], seeds: Sequence[int]
    ) -> Tensor:
        operator = self.operator(module, images, sources)
        corrupted = operator.apply(images)
        restored = module.restore(corrupted, operator, seeds=seeds)
        return self.finished(restored, corrupted, operator)

    def finished(self, restored: Tensor, corrupted: Tensor, operator: Any) -> Tensor:
        """Give what is written of what the method gave."""
        return restored


@dataclass(frozen=True)
class Denoise(Restoring):
    """Takes Gaussian noise away.

    Attributes:
        noise: its standard deviation for images in [0, 1].
        corrupt: add it to the images first; false takes them as noisy already.
        corruption_seed: of the noise, the same for every image.
    """

    noise: float
    corrupt: bool
    corruption_seed: int
    kinds = frozenset({"denoise"})

    def __post_init__(self) -> None:
        if not 0 < self.noise <= 10:
            raise ValueError(
                f"noise={self.noise}; expected the standard deviation for images in [0, 1], above "
                "0, say 0.5"
            )

    def check_model(self, module: ImageModule) -> str | None:
        low, high = getattr(module, "trained_strengths", {}).get("denoise", (0, 10))
        if low <= self.noise <= high:
            return None
        return f"noise={self.noise:g} lies outside {low:g} to {high:g}, what the model learnt from"

    def operator(self, module: ImageModule, images: Tensor, sources: Sequence[Source]) -> Operator:
        noise = torch.zeros_like(images)
        if self.corrupt:
            drawn = ImageNoise([self.corruption_seed], images.device)(*images.shape[1:])
            noise = drawn.expand_as(images)
        level = torch.full((len(images),), self.noise, device=images.device)
        return AddedNoise(noise, level, RANGE)


@dataclass(frozen=True)
class Colorize(Restoring):
    """Gives colour to grey images; colour is taken out of others first."""

    kinds = frozenset({"colorize"})

    def check(self, sources: Sequence[Source], shape: ImageShape) -> None:
        Grey().check(shape)

    def operator(self, module: ImageModule, images: Tensor, sources: Sequence[Source]) -> Operator:
        return Grey()


@dataclass(frozen=True)
class SuperResolve(Restoring):
    """Gives more pixels to small images.

    Attributes:
        factor: of which height and width grow, to the model's size.
        corrupt: make the images small first, by averages; false takes them as small already.
    """

    factor: int
    corrupt: bool
    kinds = frozenset({"super-resolve"})

    def __post_init__(self) -> None:
        Downsample(self.factor)

    def check(self, sources: Sequence[Source], shape: ImageShape) -> None:
        Downsample(self.factor).check(shape)

    def read(self, source: Source, shape: ImageShape) -> Tensor:
        if self.corrupt:
            return super().read(source, shape)
        small = read(source, shape[0], shape[1] // self.factor)
        return small.repeat_interleave(self.factor, 1).repeat_interleave(self.factor, 2)

    def operator(self, module: ImageModule, images: Tensor, sources: Sequence[Source]) -> Operator:
        return Downsample(self.factor)


def hidden_value(module: ImageModule) -> float:
    """Give what stands at hidden pixels: black where a method learnt from them so."""
    return BLACK if "inpaint" in trained_kinds(module) else MID_GREY


class FillingIn(Restoring):
    """A task whose hidden pixels are known.

    Attributes:
        paste: put the visible pixels back in the result, to the bit.
    """

    paste: bool
    kinds = HIDING

    def hidden(self, sources: Sequence[Source], shape: ImageShape) -> Tensor:
        """Give bool ``(N, 1, H, W)``."""
        raise NotImplementedError

    def operator(
        self, module: ImageModule, images: Tensor, sources: Sequence[Source]
    ) -> MaskOperator:
        n, channels, height, width = images.shape
        hidden = self.hidden(sources, (channels, height, width)).to(images.device)
        for source, mask in zip(sources, hidden.expand(n, -1, -1, -1), strict=True):
            if mask.all():
                raise ValueError(f"the mask hides all of {source.path}; leave some of it visible")
        fill = hidden_value(module)
        return MaskOperator(type(self).__name__, hidden.expand(n, -1, -1, -1), fill)

    def finished(self, restored: Tensor, corrupted: Tensor, operator: Any) -> Tensor:
        pasted: Tensor = operator.paste(restored, corrupted)
        return pasted if self.paste else restored


@dataclass(frozen=True)
class Inpaint(FillingIn):
    """Fills in what a mask hides."""

    mask: Mask
    paste: bool

    def check(self, sources: Sequence[Source], shape: ImageShape) -> None:
        self.mask.check(sources, shape)

    def files(self, source: Source) -> list[Path]:
        return [source.path, *([] if self.mask.file is None else [self.mask.file_of(source)])]

    def hidden(self, sources: Sequence[Source], shape: ImageShape) -> Tensor:
        return self.mask.hidden(sources, shape)
