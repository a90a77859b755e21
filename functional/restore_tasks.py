"""Tasks of restoring by name: what is done to image i is a function of seed i alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from functional.corruption import Corruption, Gaussian, Masking, SaltAndPepper, Shape
from functional.degradation import JPEG, Blur, Downsample, Grey
from functional.masking import MASKS, REGIONS, MaskOperator, check_kind, draw_mask, keep_count
from functional.operators import Operator
from functional.patches import Pair, hidden_patches, patch_grid, pixels_of_patches
from functional.seeding import ImageNoise

PATCH = 4
"""Side of the patches that ``random-75`` and the like hide, where a model has none of its own."""


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


def corruption_task(name: str, corruption: Corruption, shape: Shape) -> RestoreTask:
    """Give the task of undoing ``corruption`` on images of ``shape`` (C, H, W).

    Raises:
        ValueError: where such images cannot be corrupted so.
    """
    corruption.check(shape)

    def operator(seeds: Sequence[int], device: torch.device) -> Operator:
        return corruption.draw(ImageNoise(seeds, device), shape)

    about = json.dumps(corruption.describe(), sort_keys=True)
    return RestoreTask(name, operator, f"{name} {about}")


CORRUPTIONS: dict[str, tuple[str, Callable[[float], Corruption]]] = {
    "denoise": ("0.5", Gaussian),
    "deblur": ("1.5", Blur),
    "inpaint": ("50", lambda percent: Masking(percent / 100)),
    "salt_pepper": ("30", lambda percent: SaltAndPepper(percent / 100)),
    "super-resolve": ("2", lambda factor: Downsample(whole(factor))),
    "jpeg": ("10", lambda quality: JPEG(whole(quality))),
}
"""By the name of a task: an example of its strength, and the corruption of a strength.

Noise in shares of the range from black to white, blur in pixels, pixels hidden or set in per cent,
pixels averaged along a side, the quality of JPEG.
"""


def whole(value: float) -> int:
    """Give ``value`` as an integer; a ValueError where it is none."""
    if value != int(value):
        raise ValueError(f"{value} is no whole number")
    return int(value)


def restore_task(name: str, shape: Shape) -> RestoreTask:
    """Give the task of that name on images of ``shape`` (C, H, W).

    ``denoise-0.5``, ``deblur-1.5``, ``inpaint-50``, ``salt_pepper-30``, ``super-resolve-2``,
    ``jpeg-10`` (see ``CORRUPTIONS``), ``colorize``, or a mask: patches such as ``random-75``, a
    square at random such as ``box-25``, the columns on the right such as ``outpaint-50``.

    Raises:
        ValueError: for another name, a strength that makes no sense, or images that it is not for.
    """
    if name == "colorize":
        return corruption_task(name, Grey(), shape)
    kind, strength = split_name(name)
    if kind in MASKS or kind in REGIONS:
        return mask_task(name, shape[1:], (PATCH, PATCH))
    if kind not in CORRUPTIONS or strength is None:
        examples = [f"{key}-{example}" for key, (example, _) in CORRUPTIONS.items()]
        raise ValueError(
            f"unknown task {name!r}; expected, say, {', '.join(examples)}, colorize or random-75"
        )
    try:
        corruption = CORRUPTIONS[kind][1](strength)
    except ValueError as error:
        raise ValueError(f"task {name!r}: {error}") from error
    return corruption_task(name, corruption, shape)


def split_name(name: str) -> tuple[str, float | None]:
    """Give a task's kind and its strength: ``denoise-0.5`` is ("denoise", 0.5)."""
    for kind in [*CORRUPTIONS, *MASKS, *REGIONS]:
        if name.startswith(f"{kind}-"):
            try:
                return kind, float(name.removeprefix(f"{kind}-"))
            except ValueError:
                return kind, None
    return name, None


def mask_task(name: str, image: Pair, patch: Pair) -> RestoreTask:
    """Give the task ``<kind>-<per cent>`` of patches or pixels hidden, e.g. ``block-75``.

    Args:
        name: a kind of ``functional.masking.MASKS`` or ``REGIONS`` and the share hidden, in per
            cent.
        image, patch: (height, width) in pixels.

    Raises:
        ValueError: for a name that is not of this form, or a share that hides none or all.
    """
    kind, _, percent = name.partition("-")
    if not percent.isdecimal():
        raise ValueError(f"unknown task {name!r}; expected, say, random-75, block-50 or grid-75")
    if kind in REGIONS:
        return region_task(name, image)
    check_kind(kind)
    grid, ratio = patch_grid(image, patch), int(percent) / 100
    patches = grid[0] * grid[1]
    if keep_count(patches, ratio) == patches:
        raise ValueError(f"task {name!r} hides none of {patches} patches; raise its share")

    def operator(seeds: Sequence[int], device: torch.device) -> MaskOperator:
        visible = draw_mask(kind, grid, ratio, ImageNoise(seeds, device))
        return MaskOperator(name, pixels_of_patches(hidden_patches(visible, patches), patch, image))

    return RestoreTask(name, operator, f"{name} in patches of {patch[0]} x {patch[1]}")


def region_task(name: str, image: Pair) -> RestoreTask:
    """Give the task ``<kind>-<per cent>`` of a piece hidden, e.g. ``box-25``; see ``mask_task``."""
    kind, _, percent = name.partition("-")
    ratio = int(percent) / 100
    REGIONS[kind](image, ratio, ImageNoise([0]))

    def operator(seeds: Sequence[int], device: torch.device) -> MaskOperator:
        return MaskOperator(name, REGIONS[kind](image, ratio, ImageNoise(seeds, device)).to(device))

    return RestoreTask(name, operator, f"{name} of the pixels")
