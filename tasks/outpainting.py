"""Images continued beyond their sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as tv

from datamodules.decode import read_image
from datamodules.preprocessing import match_channels
from functional.masking import MaskOperator
from functional.seeding import derive_seed
from lightning_modules.base import ImageModule
from tasks.base import ImageShape
from tasks.extending import LARGEST_CANVAS, Sides, blank, extended
from tasks.restoring import MID_GREY, FillingIn, hidden_value
from tasks.sources import Source

PLACES = ("shrink", "keep", "extend")


@dataclass(frozen=True)
class Outpaint(FillingIn):
    """Draws what lies beyond an image, on the canvas of the model's size or on a larger one.

    Attributes:
        left, right, top, bottom: pixels of the canvas that are drawn at each side.
        place: "shrink" fits the image to what the sides leave of the canvas: the largest rectangle
            of that shape in its middle, resized. "keep" brings it to the whole canvas as every
            other task does, and what it had at the sides is drawn anew. "extend" brings it to the
            model's size, around which the canvas grows, as far as is asked for, half an image at a
            time (see ``tasks.extending``).
        paste: put the image back in the result, to the bit.
    """

    left: int
    right: int
    top: int
    bottom: int
    place: str
    paste: bool

    def __post_init__(self) -> None:
        if self.place not in PLACES:
            raise ValueError(f"place={self.place!r} is unknown; use one of {', '.join(PLACES)}")
        sides = (self.left, self.right, self.top, self.bottom)
        if min(sides) < 0 or max(sides) == 0:
            raise ValueError(
                f"left, right, top and bottom are {', '.join(map(str, sides))} pixels; expected "
                "0 or more and one above 0, say left=8"
            )

        if self.place == "extend" and not self.paste:
            raise ValueError("place=extend goes on from the image, so paste=false is not for it")

    @property
    def sides(self) -> Sides:
        """What is drawn at each side."""
        return Sides(self.left, self.right, self.top, self.bottom)

    def check(self, sources: Sequence[Source], shape: ImageShape) -> None:
        if self.place == "extend":
            self._check_canvas(shape)
            return
        height, width = self.window(shape)
        if min(height, width) < 1:
            raise ValueError(
                f"left={self.left}, right={self.right}, top={self.top}, bottom={self.bottom} leave "
                f"nothing of the model's {shape[1]} x {shape[2]} pixels for the image"
            )

    def _check_canvas(self, shape: ImageShape) -> None:
        height, width = shape[1] + self.top + self.bottom, shape[2] + self.left + self.right
        if max(height, width) > LARGEST_CANVAS:
            raise ValueError(
                f"a canvas of {height} x {width} pixels; expected at most {LARGEST_CANVAS} a side"
            )

    def window(self, shape: ImageShape) -> tuple[int, int]:
        """Give (height, width) of what is left for the image."""
        return shape[1] - self.top - self.bottom, shape[2] - self.left - self.right

    def read(self, source: Source, shape: ImageShape) -> Tensor:
        if self.place != "shrink":
            return super().read(source, shape)
        canvas = torch.zeros(shape, dtype=torch.uint8)
        pixels = match_channels(read_image(source.path), shape[0])
        self._inside(canvas).copy_(fit_rectangle(pixels, self.window(shape)))
        return canvas

    def corrupted(
        self, module: ImageModule, images: Tensor, sources: Sequence[Source]
    ) -> Tensor | None:
        if self.place != "extend":
            return super().corrupted(module, images, sources)
        return blank(images, self.sides, MID_GREY)[0]

    def results(
        self, module: ImageModule, images: Tensor, sources: Sequence[Source], seeds: Sequence[int]
    ) -> Tensor:
        if self.place != "extend":
            return super().results(module, images, sources, seeds)

        def fill(window: Tensor, hidden: Tensor, number: int) -> Tensor:
            mask = hidden.expand(len(window), -1, -1, -1)
            operator = MaskOperator(type(self).__name__, mask, hidden_value(module))
            own = [derive_seed(seed, number) for seed in seeds]
            restored = module.restore(operator.apply(window), operator, seeds=own)
            return operator.paste(restored, window).clamp(-1, 1)

        return extended(images, self.sides, fill)

    def hidden(self, sources: Sequence[Source], shape: ImageShape) -> Tensor:
        hidden = torch.ones(1, 1, *shape[1:], dtype=torch.bool)
        self._inside(hidden).fill_(False)
        return hidden

    def _inside(self, canvas: Tensor) -> Tensor:
        """Give the view of ``canvas`` ``(..., H, W)`` that is the image's."""
        height, width = canvas.shape[-2:]
        rows, columns = (self.top, height - self.bottom), (self.left, width - self.right)
        return canvas[..., slice(*rows), slice(*columns)]


def fit_rectangle(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Give uint8 ``(C, *size)``: the central rectangle of that shape, resized; bicubic, antialias.

    Args:
        pixels: uint8 ``(C, H, W)``.
        size: (height, width) in pixels.
    """
    scale = min(pixels.shape[1] / size[0], pixels.shape[2] / size[1])
    cut = [max(1, round(side * scale)) for side in size]
    square = tv.center_crop(pixels, cut)
    resized: Tensor = tv.resize(
        square, list(size), interpolation=InterpolationMode.BICUBIC, antialias=True
    )
    return resized
