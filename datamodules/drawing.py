"""Anti-aliased pictures of ten coloured shapes, each a function of its seed alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

Distance = Callable[[Tensor, Tensor], Tensor]
"""How far points (x right, y down) lie from the edge of a shape, inside below 0, near the edge.

Every shape lies within the unit circle."""

CONTRAST = 0.25
"""Least difference between the luma of a shape and of its background, both in [0, 1]."""
LUMA = torch.tensor([0.299, 0.587, 0.114])


def draw_shapes(labels: Tensor, side: int, seed: tuple[int, int]) -> Tensor:
    """Uint8 images (N, 3, side, side), one shape of class `labels[i]` in each.

    Image i is a function of `seed`, i and its label.
    """
    draws = np.random.default_rng(seed).random((len(labels), len(FIELDS)), dtype=np.float32)
    pixels = torch.empty(len(labels), 3, side, side, dtype=torch.uint8)
    for label, distance in enumerate(SHAPES.values()):
        for rows in torch.split((labels == label).nonzero()[:, 0], max(1, 4096 // side)):
            pixels[rows] = _draw(distance, label, torch.from_numpy(draws)[rows], side)
    return pixels


FIELDS = (
    "size", "turn", "x", "y", "hue", "saturation", "value", "background", "direction", "slope",
    "red", "green", "blue",
)  # fmt: skip
"""What varies from image to image; each is drawn uniformly from [0, 1)."""


def _draw(distance: Distance, label: int, draws: Tensor, side: int) -> Tensor:
    varied = {name: draws[:, i].view(-1, 1, 1) for i, name in enumerate(FIELDS)}
    cover = _cover(distance, varied, side).unsqueeze(1)
    hue = (label + 0.5 * (varied["hue"] - 0.5)) / len(SHAPES)
    colour = _rgb(hue, 0.55 + 0.45 * varied["saturation"], 0.6 + 0.4 * varied["value"])
    image = cover * colour + (1 - cover) * _background(varied, colour, side)
    return image.mul(255).round().to(torch.uint8)


def _cover(distance: Distance, varied: dict[str, Tensor], side: int) -> Tensor:
    """How much of each pixel the shape covers, (N, side, side) in [0, 1]."""
    radius = 0.4 + 0.35 * varied["size"]
    # The picture is 2 wide: the shape's unit circle and its soft edge stay inside.
    centre = [(0.94 - radius) * (2 * varied[axis] - 1) for axis in ("x", "y")]
    axis = _axis(side)
    x, y = (axis.view(1, 1, -1) - centre[0]) / radius, (axis.view(1, -1, 1) - centre[1]) / radius
    cos, sin = (f(2 * math.pi * varied["turn"]) for f in (torch.cos, torch.sin))
    pixels = distance(cos * x + sin * y, cos * y - sin * x) * radius * side / 2
    return (0.5 - pixels).clamp(0, 1)


def _axis(side: int) -> Tensor:
    """The centres of a row of pixels, in (-1, 1)."""
    return (torch.arange(side) + 0.5) * (2 / side) - 1


def _rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """Colours (N, 3, 1, 1) in [0, 1]; hue in turns."""
    channel = torch.tensor([5.0, 3.0, 1.0]).view(1, 3, 1, 1)
    k = (channel + 6 * hue.unsqueeze(1)) % 6
    fall = torch.minimum(k, 4 - k).clamp(0, 1)
    return value.unsqueeze(1) * (1 - saturation.unsqueeze(1) * fall)


def _background(varied: dict[str, Tensor], colour: Tensor, side: int) -> Tensor:
    """Nearly grey slopes (N, 3, side, side), far enough in luma from `colour`."""
    luma = (colour * LUMA.view(1, 3, 1, 1)).sum(dim=1)
    darkest, brightest = 0.1, 0.9
    darker = (luma - CONTRAST - darkest).clamp(min=0)
    brighter = (brightest - CONTRAST - luma).clamp(min=0)
    at = varied["background"] * (darker + brighter)
    grey = torch.where(at < darker, darkest + at, luma + CONTRAST + at - darker)
    angle = 2 * math.pi * varied["direction"]
    axis = _axis(side)
    along = angle.cos() * axis.view(1, 1, -1) + angle.sin() * axis.view(1, -1, 1)
    slope = 0.1 * varied["slope"] * along / math.sqrt(2)
    # Away from the shape's own luma alone, so that the contrast holds everywhere.
    most = slope.abs().amax(dim=(1, 2), keepdim=True)
    slope = torch.where(grey < luma, slope - most, slope + most)
    tint = torch.stack([varied[name] - 0.5 for name in ("red", "green", "blue")], dim=1)
    tint = 0.1 * (tint - (tint * LUMA.view(1, 3, 1, 1)).sum(dim=1, keepdim=True))
    return ((grey + slope).unsqueeze(1) + tint).clamp(0, 1)


# The shapes


def _ball(x: Tensor, y: Tensor, radius: float) -> Tensor:
    return torch.hypot(x, y) - radius


def _box(x: Tensor, y: Tensor, width: float, height: float) -> Tensor:
    return torch.maximum(x.abs() - width, y.abs() - height)


def _folded(x: Tensor, y: Tensor, times: int) -> tuple[Tensor, Tensor]:
    """Points turned into the upward one of `times` equal sectors: (up, sideways)."""
    sector = 2 * math.pi / times
    angle = (torch.atan2(x, -y) + sector / 2) % sector - sector / 2
    radius = torch.hypot(x, y)
    return radius * angle.cos(), radius * angle.sin()


def _triangle(x: Tensor, y: Tensor) -> Tensor:
    return _folded(x, y, 3)[0] - 0.5


def _star(x: Tensor, y: Tensor, points: int = 5, inner: float = 0.45) -> Tensor:
    up, across = _folded(x, y, points)
    # The edge from the tip at (1, 0) to the inner corner, by its slope.
    slope = (1 - inner * math.cos(math.pi / points)) / (inner * math.sin(math.pi / points))
    return (up + slope * across.abs() - 1) / math.hypot(1, slope)


def _cross(x: Tensor, y: Tensor) -> Tensor:
    return torch.minimum(_box(x, y, 0.92, 0.28), _box(x, y, 0.28, 0.92))


def _crescent(x: Tensor, y: Tensor) -> Tensor:
    return torch.maximum(_ball(x, y, 0.95), -_ball(x - 0.45, y, 0.75))


def _heart(x: Tensor, y: Tensor, half: float = 0.48) -> Tensor:
    """A square on its corner with a disc on each of its upper sides."""
    y = y - 0.2
    along, across = (x - y) / math.sqrt(2), (x + y) / math.sqrt(2)
    discs = [_ball(along - half, across, half), _ball(along, across + half, half)]
    return torch.minimum(_box(along, across, half, half), torch.minimum(*discs))


def _flower(x: Tensor, y: Tensor) -> Tensor:
    """Five petals: the distance to r = 0.7 + 0.25 cos 5 angle, over its steepness."""
    angle, radius = torch.atan2(y, x), torch.hypot(x, y)
    steep = 1.25 * torch.sin(5 * angle) / radius.clamp(min=0.2)
    return (radius - 0.7 - 0.25 * torch.cos(5 * angle)) / torch.sqrt(1 + steep.square())


SHAPES: dict[str, Distance] = {
    "disc": lambda x, y: _ball(x, y, 0.9),
    "ring": lambda x, y: _ball(x, y, 0.75).abs() - 0.2,
    "square": lambda x, y: _box(x, y, 0.7, 0.7),
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "crescent": _crescent,
    "bar": lambda x, y: _box(x, y, 0.95, 0.25),
    "heart": _heart,
    "flower": _flower,
}
"""By name, in the order of the labels."""
