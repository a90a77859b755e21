"""Which patches of an image stay visible: random, block-wise and grid masks of He et al. (2022).

A mask is the int64 places ``(N, K)`` of the visible patches, the same number for every image.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from functional.patches import Pair, visible_patches

# Gives standard normal (N, *shape): ``functional.seeding.ImageNoise``, or :class:`BatchNoise`.
Noise = Callable[..., Tensor]

# BEiT (Bao et al. 2022, algorithm 1): blocks of at least 16 of 14 x 14 patches, sides within 0.3.
SMALLEST_BLOCK = 16 / 196
ASPECT = 0.3


class BatchNoise:
    """Standard normal noise for ``n`` images from torch's global generator, on ``device``."""

    def __init__(self, n: int, device: torch.device | str) -> None:
        self.n, self.device = n, device

    def __call__(self, *shape: int) -> Tensor:
        """Draw ``(n, *shape)``."""
        return torch.randn(self.n, *shape, device=self.device)


def keep_count(patches: int, ratio: float) -> int:
    """Give how many of ``patches`` stay visible where the share ``ratio`` is hidden.

    The number of hidden ones is rounded to the nearest.

    Raises:
        ValueError: for a ratio outside [0, 1), or one that leaves none visible.
    """
    if not 0 <= ratio < 1:
        raise ValueError(f"mask ratio {ratio} lies outside [0, 1); the paper's is 0.75")
    keep = patches - math.floor(patches * ratio + 0.5)
    if keep < 1:
        raise ValueError(
            f"mask ratio {ratio} leaves none of {patches} patches visible; "
            f"use at most {(patches - 1) / patches:.3g}, or smaller patches"
        )
    return keep


def random_mask(grid: Pair, keep: int, noise: Noise) -> Tensor:
    """Give ``(N, keep)`` patches drawn without replacement (He et al. 2022, section 3)."""
    return noise(grid[0] * grid[1]).argsort(dim=1)[:, :keep]


def grid_mask(grid: Pair, keep: int, noise: Noise) -> Tensor:
    """Give ``(N, keep)`` patches at regular places: one in each 2 x 2 of them at a ratio of 0.75.

    Places are taken in the order of Bayer's matrix (1973), which spreads any number of them as
    evenly as they can be; at 0.5 they are a chequerboard. Where the pattern begins is random, so
    that no place is always hidden.
    """
    order = bayer_order(max(grid))
    side = len(order)
    start = (uniform(noise, 2) * side).long().clamp(max=side - 1)
    rows = (torch.arange(grid[0], device=start.device) + start[:, :1]) % side
    columns = (torch.arange(grid[1], device=start.device) + start[:, 1:]) % side
    ranks = order.to(start.device)[rows[:, :, None], columns[:, None, :]]
    return ranks.flatten(1).argsort(dim=1)[:, :keep]


def bayer_order(side: int) -> Tensor:
    """Give Bayer's matrix of the numbers 0 ... S * S - 1, S the power of two from ``side`` up."""
    order = torch.zeros(1, 1, dtype=torch.int64)
    while len(order) < side:
        top = torch.cat([4 * order, 4 * order + 2], dim=1)
        order = torch.cat([top, torch.cat([4 * order + 3, 4 * order + 1], dim=1)], dim=0)
    return order


def block_mask(grid: Pair, keep: int, noise: Noise) -> Tensor:
    """Give the ``(N, keep)`` patches that rectangles leave visible (Bao et al. 2022, algorithm 1).

    Rectangles of random area, sides and place are hidden until enough is. Unlike BEiT's the count
    is exact: of the last rectangle the first rows are taken, as many patches as are missing.
    """
    patches = grid[0] * grid[1]
    hidden: Tensor | None = None
    while hidden is None or bool((hidden.sum(dim=1) < patches - keep).any()):
        drawn = uniform(noise, 4)
        if hidden is None:
            hidden = torch.zeros(len(drawn), patches, dtype=torch.bool, device=drawn.device)
        missing = patches - keep - hidden.sum(dim=1)
        added = _rectangles(drawn, grid, missing) & ~hidden
        # Of what a rectangle adds, no more than is missing: none where an image is complete.
        hidden = hidden | (added & (added.cumsum(dim=1) <= missing[:, None]))
    return visible_patches(hidden)


def _rectangles(drawn: Tensor, grid: Pair, largest: Tensor) -> Tensor:
    """Give bool ``(N, L)``, a rectangle each, of uniform ``drawn`` ``(N, 4)``.

    ``largest`` ``(N,)`` bounds the area from which height and width follow, rounded.
    """
    smallest = max(1.0, SMALLEST_BLOCK * grid[0] * grid[1])
    area = smallest + drawn[:, 0] * (largest - smallest).clamp(min=0)
    aspect = torch.exp((2 * drawn[:, 1] - 1) * math.log(ASPECT))
    inside = []
    for sides, places, where in (
        ((area * aspect).sqrt(), grid[0], drawn[:, 2]),
        ((area / aspect).sqrt(), grid[1], drawn[:, 3]),
    ):
        length = sides.round().long().clamp(1, places)
        start = (where * (places - length + 1)).long().clamp(max=places - 1)[:, None]
        place = torch.arange(places, device=drawn.device)
        inside.append((place >= start) & (place < start + length[:, None]))
    return (inside[0][:, :, None] & inside[1][:, None, :]).flatten(1)


def uniform(noise: Noise, *shape: int) -> Tensor:
    """Give numbers ``(N, *shape)`` uniform in [0, 1] from normal noise."""
    uniforms: Tensor = torch.special.ndtr(noise(*shape))
    return uniforms


MASKS: dict[str, Callable[[Pair, int, Noise], Tensor]] = {
    "random": random_mask,
    "block": block_mask,
    "grid": grid_mask,
}


def box_mask(image: Pair, ratio: float, noise: Noise) -> Tensor:
    """Give bool ``(N, 1, *image)``: a square over about ``ratio`` of the pixels, at random.

    Raises:
        ValueError: where it hides none, or does not fit.
    """
    side = round(math.sqrt(ratio * image[0] * image[1]))
    if not 1 <= side < max(image) or side > min(image):
        raise ValueError(f"a box over {ratio:g} of {image[0]} x {image[1]} pixels has side {side}")
    inside = []
    for pixels, where in zip(image, uniform(noise, 2).unbind(dim=1), strict=True):
        first = (where * (pixels - side + 1)).long().clamp(max=pixels - side)[:, None]
        place = torch.arange(pixels, device=first.device)
        inside.append((place >= first) & (place < first + side))
    return (inside[0][:, :, None] & inside[1][:, None, :])[:, None]


def outpaint_mask(image: Pair, ratio: float, noise: Noise) -> Tensor:
    """Give bool ``(1, 1, *image)``: the share ``ratio`` of the columns, on the right.

    Raises:
        ValueError: where that is none or all.
    """
    columns = round(ratio * image[1])
    if not 0 < columns < image[1]:
        raise ValueError(f"{ratio:g} of {image[1]} columns hide {columns}; leave some, hide some")
    hidden = torch.arange(image[1]) >= image[1] - columns
    return hidden.expand(1, 1, *image)


REGIONS: dict[str, Callable[[Pair, float, Noise], Tensor]] = {
    "box": box_mask,
    "outpaint": outpaint_mask,
}
"""Masks of pixels in one piece, by name: image, share hidden and noise give what is hidden."""


def draw_mask(kind: str, grid: Pair, ratio: float, noise: Noise) -> Tensor:
    """Give the places ``(N, K)`` of the visible patches, K from :func:`keep_count`.

    Args:
        kind: a name of ``MASKS``.
        grid: (rows, columns) of patches.
        ratio: share of the patches that is hidden, in [0, 1).
        noise: one stream per image makes mask i a function of seed i alone.

    Raises:
        ValueError: for an unknown kind, or a ratio that :func:`keep_count` refuses.
    """
    check_kind(kind)
    return MASKS[kind](grid, keep_count(grid[0] * grid[1], ratio), noise)


def check_kind(kind: str) -> None:
    """Refuse an unknown kind of mask with a ValueError."""
    if kind not in MASKS:
        raise ValueError(f"unknown kind of mask {kind!r}; known: {', '.join(MASKS)}")


@dataclass(frozen=True)
class MaskOperator:
    """What hides pixels of images, for ``ImageModule.restore``.

    Attributes:
        name: for tables and keys, e.g. ``inpaint-random-0.75``.
        mask: bool ``(N, 1, H, W)``, or one for all images ``(1, 1, H, W)``; True is hidden.
        fill: what stands at hidden pixels; 0 is mid-grey.
    """

    name: str
    mask: Tensor
    fill: float = 0.0

    def __post_init__(self) -> None:
        shape, dtype = tuple(self.mask.shape), self.mask.dtype
        if dtype != torch.bool or len(shape) != 4 or shape[1] != 1:
            raise ValueError(
                f"the mask of {self.name!r} is {dtype} {shape}; expected torch.bool (N, 1, H, W)"
            )

    def apply(self, images: Tensor) -> Tensor:
        """Give ``images`` ``(N, C, H, W)`` with ``fill`` at the hidden pixels."""
        return images.masked_fill(self.mask.to(images.device), self.fill)

    def pinv(self, measured: Tensor) -> Tensor:
        """Give ``measured`` with 0 at the hidden pixels: A+ of the linear part."""
        return measured.masked_fill(self.mask.to(measured.device), 0)

    def paste(self, restored: Tensor, corrupted: Tensor) -> Tensor:
        """Give ``restored`` with the visible pixels of ``corrupted`` copied back, to the bit."""
        return torch.where(self.mask.to(restored.device), restored, corrupted)
