"""A canvas larger than a model's images, filled window by window."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

LARGEST_CANVAS = 4096
"""Side in pixels of the largest canvas."""


class Sides(NamedTuple):
    """Pixels that are drawn at each side of an image."""

    left: int
    right: int
    top: int
    bottom: int


Fill = Callable[[Tensor, Tensor, int], Tensor]
"""Gives a window ``(N, C, S, S)`` filled in, told which pixels are hidden, bool ``(1, 1, S, S)``,
and the number of the window; what is visible stays as it is."""


def extended(images: Tensor, sides: Sides, fill: Fill) -> Tensor:
    """Give images with what lies beyond them, each window of the model's size drawn in turn.

    From the image outwards, half a window at a time, so that a model sees as much as it draws, or
    more.

    Args:
        images: ``(N, C, S, S)``.
        sides: how far to go.
        fill: draws one window.
    """
    canvas, hidden = blank(images, sides, 0.0)
    size = images.shape[-1]
    for number, (top, left) in enumerate(windows(sides, size)):
        place = (..., slice(top, top + size), slice(left, left + size))
        if hidden[place].any():
            canvas[place] = fill(canvas[place], hidden[place], number)
            hidden[place] = False
    return canvas


def blank(images: Tensor, sides: Sides, value: float) -> tuple[Tensor, Tensor]:
    """Give images on a canvas of ``value``, and bool ``(1, 1, H, W)``, what is to be drawn."""
    size = images.shape[-1]
    shape = (size + sides.top + sides.bottom, size + sides.left + sides.right)
    canvas = images.new_full((*images.shape[:2], *shape), value)
    hidden = torch.ones(1, 1, *shape, dtype=torch.bool, device=images.device)
    place = (..., slice(sides.top, sides.top + size), slice(sides.left, sides.left + size))
    canvas[place] = images
    hidden[place] = False
    return canvas, hidden


def windows(sides: Sides, size: int) -> Iterator[tuple[int, int]]:
    """Yield the top left corners of windows, in the order in which they are drawn."""
    for top in outward(sides.top, sides.top + sides.bottom, size // 2 or 1):
        for left in outward(sides.left, sides.left + sides.right, size // 2 or 1):
            yield top, left


def outward(start: int, last: int, step: int) -> list[int]:
    """Give places from ``start`` down to 0 and then up to ``last``, ``step`` apart at most."""
    down = [*range(start, 0, -step), 0]
    return [*down, *range(start + step, last, step), *([last] if last > start else [])]
