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
from tasks.base import ImageShape
from tasks.restoring import FillingIn
from tasks.sources import Source

PLACES = ("shrink", "keep")


@dataclass(frozen=True)
class Outpaint(FillingIn):
    """Draws what lies beyond an image, on the canvas of the model's size.

    Attributes:
        left, right, top, bottom: pixels of the canvas that are drawn at each side.
        place: "shrink" fits the image to what the sides leave of the canvas: the largest rectangle
            of that shape in its middle, resized. "keep" brings it to the whole canvas as every
            other task does, and what it had at the sides is drawn anew.
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

    def check(self, sources: Sequence[Source], shape: ImageShape) -> None:
        height, width = self.window(shape)
        if min(height, width) < 1:
            raise ValueError(
                f"left={self.left}, right={self.right}, top={self.top}, bottom={self.bottom} leave "
                f"nothing of the model's {shape[1]} x {shape[2]} pixels for the image"
            )

    def window(self, shape: ImageShape) -> tuple[int, int]:
        """Give (height, width) of what is left for the image."""
        return shape[1] - self.top - self.bottom, shape[2] - self.left - self.right

    def read(self, source: Source, shape: ImageShape) -> Tensor:
        if self.place == "keep":
            return super().read(source, shape)
        canvas = torch.zeros(shape, dtype=torch.uint8)
        pixels = match_channels(read_image(source.path), shape[0])
        self._inside(canvas).copy_(fit_rectangle(pixels, self.window(shape)))
        return canvas

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
