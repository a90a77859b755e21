"""Random brush strokes over images, as a person paints out what is to be filled in."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from functional.masking import Noise, uniform
from functional.patches import Pair

PIECES = 4
LENGTHS = (0.1, 0.35)
WIDTHS = (0.08, 0.16)
LARGEST_TURN = 0.4 * math.pi


def brush_strokes(count: int, size: Pair, noise: Noise) -> Tensor:
    """Give bool ``(N, 1, *size)``, the pixels under ``count`` strokes of a round brush.

    A stroke is a chain of straight pieces, as in Yu et al. (2019, "Free-form image inpainting with
    gated convolution", algorithm 1): it begins anywhere, and its width, lengths and turns are
    uniform, here between shares of the image's shorter side.

    Args:
        count: strokes for each image.
        size: (height, width) of the images.
        noise: one stream per image makes the strokes of image i a function of seed i alone.

    Raises:
        ValueError: for a count below 1.
    """
    if count < 1:
        raise ValueError(f"{count} strokes of a brush; expected 1 or more")
    painted = torch.stack([_stroke(size, noise) for _ in range(count)])
    return painted.any(dim=0)[:, None]


def _stroke(size: Pair, noise: Noise) -> Tensor:
    """Give bool ``(N, *size)``, the pixels under one stroke."""
    side, start, pieces = min(size), uniform(noise, 4), uniform(noise, PIECES, 2)
    radius = side * _between(WIDTHS, start[:, 3]) / 2
    turns = (2 * pieces[..., 0] - 1) * LARGEST_TURN
    heading = 2 * math.pi * start[:, 2:3] + turns.cumsum(dim=1)
    steps = torch.stack([heading.sin(), heading.cos()], dim=2)
    steps = side * _between(LENGTHS, pieces[..., 1:]) * steps
    begin = (start[:, :2] * torch.tensor(size, device=start.device))[:, None]
    corners = torch.cat([begin, begin + steps.cumsum(dim=1)], dim=1)
    return distances(size, corners).amin(dim=1) <= radius[:, None, None]


def distances(size: Pair, corners: Tensor) -> Tensor:
    """Give how far each pixel's centre is from each piece of a chain, ``(N, K, *size)``.

    Args:
        size: (height, width) in pixels.
        corners: (row, column) of the ends of pieces, ``(N, K + 1, 2)``, in pixels.
    """
    rows, columns = (torch.arange(n, device=corners.device) + 0.5 for n in size)
    pixels = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=2)
    a, along = corners[:, :-1, None, None], corners.diff(dim=1)[:, :, None, None]
    share = ((pixels - a) * along).sum(-1) / along.square().sum(-1).clamp(min=1e-12)
    found: Tensor = (pixels - a - share.clamp(0, 1)[..., None] * along).norm(dim=-1)
    return found


def _between(bounds: tuple[float, float], share: Tensor) -> Tensor:
    return bounds[0] + share * (bounds[1] - bounds[0])
