"""Grey textures to put behind things: patches of images, or of images that are drawn here."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

LEAST_DEVIATION = 20.0
"""Standard deviation, in grey levels, below which a patch counts as without texture."""
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}


def dead_leaves(n: int, side: int, draw: np.random.Generator) -> list[np.ndarray]:
    """n uint8 images (side, side) of discs that cover one another.

    Radii have the density r^-3, up to which such images look alike at every scale, as photographs
    do (Lee, Mumford and Huang 2001, "Occlusion models for natural images").
    """
    return [_leaves(side, draw) for _ in range(n)]


def _leaves(side: int, draw: np.random.Generator, smallest: float = 2.0) -> np.ndarray:
    canvas = np.full((side, side), 128, dtype=np.uint8)
    # Three times the area of the picture in discs leaves little of the bare ground.
    mean_area = 2 * math.pi * smallest**2 * math.log(side / 4 / smallest)
    count = round(3 * side**2 / mean_area)
    share = draw.random(count) * (1 - (smallest * 4 / side) ** 2)
    radii = smallest / np.sqrt(1 - share)
    centres, greys = draw.uniform(0, side, (count, 2)), draw.integers(0, 256, count)
    for radius, (y, x), grey in zip(radii, centres, greys, strict=True):
        top, left = (max(0, math.floor(at - radius)) for at in (y, x))
        box = canvas[top : math.ceil(y + radius) + 1, left : math.ceil(x + radius) + 1]
        rows, columns = np.ogrid[: box.shape[0], : box.shape[1]]
        box[(rows + top - y) ** 2 + (columns + left - x) ** 2 < radius**2] = grey
    return canvas


def folder_images(folder: str) -> list[np.ndarray]:
    """The images right in `folder`, in order of their names, as grey uint8 (H, W).

    Raises FileNotFoundError where there is none.
    """
    root = Path(folder).expanduser()
    files = sorted(p for p in root.glob("*") if p.suffix.lower() in SUFFIXES)
    if not files:
        raise FileNotFoundError(
            f"no image ({', '.join(sorted(SUFFIXES))}) in {root}; put some there, or set "
            "data.background_folder=null to have backgrounds drawn"
        )
    return [np.asarray(Image.open(path).convert("L")) for path in files]


def patches(
    images: list[np.ndarray], n: int, side: int, draw: np.random.Generator, tries: int = 50
) -> Tensor:
    """Uint8 patches (n, 1, side, side) from anywhere in `images`, all with some texture.

    Raises ValueError where the images are smaller than a patch, or too plain.
    """
    small = [image.shape for image in images if min(image.shape) < side]
    if small:
        raise ValueError(f"a background of {small[0]} pixels is smaller than a patch of {side}")
    found = np.empty((n, 1, side, side), dtype=np.uint8)
    left = np.arange(n)
    for _ in range(tries):
        for place, image in zip(left, draw.integers(len(images), size=len(left)), strict=True):
            height, width = images[image].shape
            top, start = draw.integers(height - side + 1), draw.integers(width - side + 1)
            found[place, 0] = images[image][top : top + side, start : start + side]
        left = left[found[left].std(axis=(1, 2, 3)) < LEAST_DEVIATION]
        if not len(left):
            return torch.from_numpy(found)
    raise ValueError(
        f"after {tries} draws {len(left)} of {n} patches vary by less than {LEAST_DEVIATION:g} "
        "grey levels; use backgrounds with more texture"
    )
