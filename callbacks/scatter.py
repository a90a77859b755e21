"""Points and arrows of the plane as pictures; drawn with torch and Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from callbacks.pictures import save_whole

Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
BLUE, GREY, RED = (31, 90, 180), (150, 150, 150), (190, 60, 40)
LINES = (210, 210, 210)
SCALE = 3
"""Everything is drawn this many times larger and made smaller, which smooths it."""
MARGIN = 26
"""Pixels for the names of rows and columns."""


def scatter(
    *layers: tuple[Tensor, Colour], side: int = 200, extent: float = 1.2, radius: float = 0.8
) -> Image.Image:
    """Give a square picture of points, later layers above earlier ones.

    Args:
        layers: points ``(N, 2)`` or ``(N, 2, 1, 1)``, and their colour; points that lie on each
            other darken, so that density shows.
        side: in pixels.
        extent: the picture shows [-extent, extent] in both axes, y upwards.
        radius: of a point, in pixels.
    """
    canvas = torch.ones(3, side * SCALE, side * SCALE)
    for points, colour in layers:
        ink = _ink(points.flatten(1).float().cpu(), side * SCALE, extent, radius * SCALE)
        shade = torch.tensor(colour, dtype=torch.float32).view(3, 1, 1) / 255
        canvas = canvas * (1 - ink) + shade * ink
    picture: Image.Image = to_pil_image(F.avg_pool2d(canvas, SCALE))
    return picture


def _ink(points: Tensor, side: int, extent: float, radius: float) -> Tensor:
    """Give how much of each pixel ``(side, side)`` is covered, in [0, 1]: 0.6 by a single point."""
    place = ((points * torch.tensor([1.0, -1.0]) + extent) / (2 * extent) * side).floor()
    place = place[((place >= 0) & (place < side)).all(dim=1)].long()
    count = torch.bincount(place[:, 1] * side + place[:, 0], minlength=side * side).float()
    reach = int(radius) + 1
    offset = torch.arange(-reach, reach + 1).float()
    disc = (offset[:, None] ** 2 + offset[None] ** 2 <= radius**2).float()
    covered = F.conv2d(count.view(1, 1, side, side), disc[None, None], padding=reach)
    return 1 - 0.4 ** covered[0, 0]


def arrows(
    places: Tensor,
    vectors: Tensor,
    side: int = 200,
    extent: float = 1.2,
    colour: Colour = RED,
    longest: float | None = None,
) -> Image.Image:
    """Give a square picture of a vector field.

    The longest arrow, or one of length ``longest``, is as long as places lie apart; others are by
    the root of their length, so that small ones can be seen beside large ones.

    Args:
        places, vectors: ``(N, 2)`` or ``(N, 2, 1, 1)``, where arrows begin and where they point.
    """
    picture = Image.new("RGB", (side * SCALE, side * SCALE), "white")
    draw = ImageDraw.Draw(picture)
    starts, vectors = places.flatten(1).double().cpu(), vectors.flatten(1).double().cpu()
    apart = 2 * extent / max(1.0, len(starts) ** 0.5)
    length = vectors.norm(dim=1, keepdim=True).clamp(min=1e-12)
    vectors = vectors / length * apart * (length / (longest or length.max())).sqrt()
    pixels = side * SCALE / (2 * extent)
    flip = torch.tensor([1.0, -1.0], dtype=torch.float64)
    for start, end in zip(starts, starts + vectors, strict=True):
        tail, head = (((p * flip) + extent) * pixels for p in (start, end))
        _arrow(draw, tail, head, colour)
    return picture.resize((side, side), Image.Resampling.LANCZOS)


def plane(count: int, reach: float = 1.0) -> Tensor:
    """Give a square lattice of ``count`` x ``count`` points, ``(count^2, 2, 1, 1)``."""
    axis = torch.linspace(-reach, reach, count)
    both = torch.meshgrid(axis, axis, indexing="xy")
    return torch.stack(both, dim=-1).view(-1, 2, 1, 1)


def _arrow(draw: ImageDraw.ImageDraw, tail: Tensor, head: Tensor, colour: Colour) -> None:
    along = head - tail
    across = torch.stack([-along[1], along[0]])
    draw.line([*tail.tolist(), *head.tolist()], fill=colour, width=SCALE)
    wings = [head - 0.45 * along + sign * 0.28 * across for sign in (-1, 1)]
    draw.polygon([tuple(p.tolist()) for p in (head, *wings)], fill=colour)


def captioned(picture: Image.Image, caption: str) -> Image.Image:
    """Give ``picture`` with small words in its upper left corner."""
    copy = picture.copy()
    draw, font = ImageDraw.Draw(copy), ImageFont.load_default(11)
    draw.rectangle(draw.textbbox((5, 4), caption, font=font), fill="white")
    draw.text((5, 4), caption, fill="black", font=font)
    return copy


def panels(
    rows: Sequence[Sequence[Image.Image]], row_names: Sequence[str], column_names: Sequence[str]
) -> Image.Image:
    """Give one picture of ``rows`` of pictures of one size, with the names of rows and columns."""
    width, height = rows[0][0].size
    size = (MARGIN + len(rows[0]) * width, MARGIN + len(rows) * height)
    picture = Image.new("RGB", size, "white")
    font = ImageFont.load_default(14)
    draw = ImageDraw.Draw(picture)
    for column, name in enumerate(column_names):
        place = (MARGIN + (column + 0.5) * width, MARGIN / 2)
        draw.text(place, name, fill="black", font=font, anchor="mm")
    for line, (name, cells) in enumerate(zip(row_names, rows, strict=True)):
        picture.paste(_upright(name, height, font), (0, MARGIN + line * height))
        for column, cell in enumerate(cells):
            corner = (MARGIN + column * width, MARGIN + line * height)
            picture.paste(cell, corner)
            draw.rectangle(
                [*corner, corner[0] + width, corner[1] + height], outline=(210, 210, 210)
            )
    return picture


def _upright(name: str, height: int, font: Font) -> Image.Image:
    strip = Image.new("RGB", (height, MARGIN), "white")
    ImageDraw.Draw(strip).text((height / 2, MARGIN / 2), name, fill="black", font=font, anchor="mm")
    return strip.transpose(Image.Transpose.ROTATE_90)


def save_film(pictures: Sequence[Image.Image], path: Path, milliseconds: int) -> Path:
    """Write a GIF that repeats, whole or not at all; the last picture stays for a second."""
    colours = [p.convert("P", palette=Image.Palette.ADAPTIVE, colors=64) for p in pictures]
    durations = [milliseconds] * (len(pictures) - 1) + [1000]
    return save_whole(
        colours[0],
        path,
        "GIF",
        save_all=True,
        append_images=colours[1:],
        duration=durations,
        loop=0,
    )
