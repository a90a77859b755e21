"""Many images from one model, cut into fixed chunks so that any number of processes agrees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from functional.images import to_uint8
from functional.seeding import image_seeds
from lightning_modules.base import ImageModule


class Chunk(NamedTuple):
    """``indices`` ``(n,)`` int64 and ``images`` ``(n, C, H, W)``, both on the CPU."""

    indices: Tensor
    images: Tensor


def generate(
    module: ImageModule,
    n: int,
    seed: int,
    rank: int = 0,
    world_size: int = 1,
    label: int | None = None,
) -> Iterator[Chunk]:
    """Yield images 0..n-1 of the stream named by ``seed``, uint8, a chunk at a time.

    As :func:`generate_floats`, rounded to bytes.
    """
    for indices, images in generate_floats(module, n, seed, rank, world_size, label):
        yield Chunk(indices, to_uint8(images))


def generate_floats(
    module: ImageModule,
    n: int,
    seed: int,
    rank: int = 0,
    world_size: int = 1,
    label: int | None = None,
) -> Iterator[Chunk]:
    """Yield images 0..n-1 of the stream named by ``seed``, float32, a chunk at a time.

    Image i depends on (``seed``, i) alone. Chunks begin at multiples of ``module.chunk_size``, and
    a process makes every ``world_size``-th, so the union over processes is the same bytes. All are
    of the class ``label`` where one is given.

    Raises:
        ValueError: for n < 1, or where the method cannot sample.
    """
    if n < 1:
        raise ValueError(f"n={n} images asked for, expected at least 1")
    if "sample" not in module.capabilities:
        raise ValueError(module.lacking("sample"))
    starts = list(range(0, n, module.chunk_size))
    for start in starts[rank::world_size]:
        indices = range(start, min(start + module.chunk_size, n))
        labels = None if label is None else torch.full((len(indices),), label)
        with torch.no_grad():
            images = module.sample(len(indices), seeds=image_seeds(seed, indices), labels=labels)
        yield Chunk(torch.tensor(indices), images.float().cpu())


def class_rows(module: ImageModule, seeds: Sequence[int], num_classes: int) -> Tensor:
    """Give ``(classes, len(seeds), C, H, W)``, the same seeds each; of the first 32 at most."""
    shown = min(num_classes, 32)
    labels = torch.arange(shown).repeat_interleave(len(seeds))
    images = module.sample(len(labels), seeds=list(seeds) * shown, labels=labels)
    return images.view(shown, len(seeds), *module.image_shape)
