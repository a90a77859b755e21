"""Images that stay in their files until a batch needs them, and their check beforehand."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor
from torchvision.transforms import functional as tv

from datamodules.crops import Crop
from datamodules.decode import BrokenImageError, check_image, read_image
from datamodules.preprocessing import fit_square, match_channels
from datamodules.store import ImageStore

log = logging.getLogger(__name__)
Result = TypeVar("Result")

_THREADS = 8
_HEAD = 16384


class Shape(NamedTuple):
    """What a file's pixels become: `crop` is the side of the central square taken first, or 0."""

    channels: int
    image_size: int
    crop: int = 0


def load(path: Path, shape: Shape, cut: Callable[[Tensor, int], Tensor] = fit_square) -> Tensor:
    """The uint8 pixels (channels, image_size, image_size) of a file.

    `cut` makes squares of a size. Raises BrokenImageError.
    """
    pixels = match_channels(read_image(path), shape.channels)
    if shape.crop:
        pixels = tv.center_crop(pixels, [shape.crop, shape.crop])
    return cut(pixels, shape.image_size)


class FileStore(ImageStore):
    """A split whose images are decoded when asked for.

    skip_broken: put the next readable image in the place of one that cannot be decoded after
        all, and name it in the log; otherwise BrokenImageError is raised
    crop: how training batches cut images, or None
    """

    def __init__(
        self,
        root: Path,
        names: Sequence[str],
        labels: Tensor,
        shape: Shape,
        skip_broken: bool = False,
        crop: Crop | None = None,
    ) -> None:
        self.root, self.names, self.shape = root, list(names), shape
        self.labels, self.skip_broken = labels.to(torch.int64), skip_broken
        self.crop = crop

    def pixels(self, indices: Tensor) -> Tensor:
        return torch.stack([self._readable(index) for index in indices.tolist()])

    def crops(self, indices: Tensor, seeds: Tensor) -> Tensor:
        if self.crop is None:
            return super().crops(indices, seeds)
        pairs = zip(indices.tolist(), seeds.tolist(), strict=True)
        return torch.stack(
            [self._readable(index, partial(self.crop.cut, seed=seed)) for index, seed in pairs]
        )

    def update(self, digest: hashlib._Hash) -> None:
        digest.update(f"{self.shape}\n".encode())
        for name in self.names:
            digest.update(os.fsencode(name))  # a name need not be text
            digest.update(_identity(self.root / name))
        digest.update(self.labels.numpy().tobytes())

    def subset(self, positions: Tensor) -> FileStore:
        names = [self.names[position] for position in positions.tolist()]
        labels = self.labels[positions]
        return FileStore(self.root, names, labels, self.shape, self.skip_broken, self.crop)

    def _readable(self, index: int, cut: Callable[[Tensor, int], Tensor] = fit_square) -> Tensor:
        for step in range(len(self)):
            try:
                return load(self.root / self.names[(index + step) % len(self)], self.shape, cut)
            except BrokenImageError as error:
                if not self.skip_broken:
                    raise
                log.warning("broken image, replaced by the next one: %s", error)
        raise BrokenImageError(f"no image of {self.root} can be decoded")


def _identity(path: Path) -> bytes:
    """Size, beginning and end: tells files apart without reading gigabytes at every start."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_HEAD)
        file.seek(max(0, size - _HEAD))
        return str(size).encode() + head + file.read()


def check_all(root: Path, names: Sequence[str]) -> list[BrokenImageError | None]:
    """For each file what is wrong with it, or None."""
    return _attempt(check_image, [root / name for name in names])


def load_all(root: Path, names: Sequence[str], shape: Shape) -> list[BrokenImageError | Tensor]:
    """For each file its pixels, or what is wrong with it."""
    return _attempt(lambda path: load(path, shape), [root / name for name in names])


def _attempt(
    function: Callable[[Path], Result], paths: Sequence[Path]
) -> list[BrokenImageError | Result]:
    def attempt(path: Path) -> BrokenImageError | Result:
        try:
            return function(path)
        except BrokenImageError as error:
            return error

    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(attempt, paths))
