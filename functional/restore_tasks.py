"""Tasks of restoring by name: what is done to image i is a function of seed i alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from functional.masking import MaskOperator, check_kind, draw_mask, keep_count
from functional.patches import Pair, hidden_patches, patch_grid, pixels_of_patches
from functional.seeding import ImageNoise


class Operator(Protocol):
    """What corrupts images ``(N, C, H, W)``: a mask, noise, blur, ..."""

    def apply(self, images: Tensor) -> Tensor:
        """Give ``images`` corrupted."""


@dataclass(frozen=True)
class RestoreTask:
    """One row of a table of restoring.

    Attributes:
        name: part of the scores' keys, e.g. ``random-75``.
        operator: gives the operator of N images of their N seeds, on a device; one with an
            attribute ``mask``, bool ``(N, 1, H, W)``, where pixels are hidden.
        about: what is done to an image, in full: scores are comparable where it is the same.
    """

    name: str
    operator: Callable[[Sequence[int], torch.device], Operator]
    about: str


def mask_task(name: str, image: Pair, patch: Pair) -> RestoreTask:
    """Give the task ``<kind>-<per cent>`` of patches hidden, e.g. ``block-75``.

    Args:
        name: a kind of ``functional.masking.MASKS`` and the share hidden, in per cent.
        image, patch: (height, width) in pixels.

    Raises:
        ValueError: for a name that is not of this form, or a share that hides none or all.
    """
    kind, _, percent = name.partition("-")
    if not percent.isdecimal():
        raise ValueError(f"unknown task {name!r}; expected, say, random-75, block-50 or grid-75")
    check_kind(kind)
    grid, ratio = patch_grid(image, patch), int(percent) / 100
    patches = grid[0] * grid[1]
    if keep_count(patches, ratio) == patches:
        raise ValueError(f"task {name!r} hides none of {patches} patches; raise its share")

    def operator(seeds: Sequence[int], device: torch.device) -> MaskOperator:
        visible = draw_mask(kind, grid, ratio, ImageNoise(seeds, device))
        return MaskOperator(name, pixels_of_patches(hidden_patches(visible, patches), patch, image))

    return RestoreTask(name, operator, f"{name} in patches of {patch[0]} x {patch[1]}")
