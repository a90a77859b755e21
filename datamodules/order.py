"""Which images make up which batch: the same for any number of processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

_PERMUTATION, _FLIP, _CROP = 0, 1, 2


class Plan(NamedTuple):
    """The recipe of one batch.

    indices: positions in the split, int64 (n,)
    flip: which of them to mirror, bool (n,)
    crop: the seed by which each is cut, int64 (n,)
    """

    indices: Tensor
    flip: Tensor | None
    crop: Tensor | None = None


def batch_size_per_process(batch_size: int, world_size: int) -> int:
    """The part of a global batch that one process takes.

    Raises ValueError where the global batch cannot be cut into equal parts.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size} is not a positive number; use 1 or more")
    if batch_size % world_size:
        below = batch_size - batch_size % world_size
        choices = f"{below} or {below + world_size}" if below else f"{world_size}"
        raise ValueError(
            f"batch_size={batch_size} is not divisible by {world_size} processes; use {choices}"
        )
    return batch_size // world_size


def _generator(seed: int, epoch: int, *stream: int) -> torch.Generator:
    # A spawn key keeps the streams apart: plain entropy is padded with zeros, so that
    # (seed, epoch) and (seed, epoch, 0) would be one and the same stream.
    state = np.random.SeedSequence((seed, epoch), spawn_key=stream).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]) >> 1)


class GlobalBatchSampler:
    """Yields this process's slice of every global batch of a training epoch.

    The order of an epoch is a permutation that depends on (seed, epoch) alone. Global batch k is
    its k-th run of `batch_size` images, and rank r takes the r-th contiguous part of it, so the
    union over the ranks is the same batch for any number of processes; flips and the seeds of crops
    are drawn for the global batch as well. Images that do not fill a batch wait for another epoch's
    permutation.

    Raises ValueError where `batch_size` is not divisible by `world_size` or exceeds `size`.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        rank: int,
        world_size: int,
        seed: int,
        flip: bool = False,
        crop: bool = False,
    ) -> None:
        self._share = batch_size_per_process(batch_size, world_size)
        if batch_size > size:
            raise ValueError(
                f"batch_size={batch_size} exceeds the training set of {size} images; "
                f"use {size // world_size * world_size} or less"
            )
        self._length = size // batch_size
        self.size, self.batch_size, self.rank = size, batch_size, rank
        self.seed, self.flip, self.crop = seed, flip, crop
        self.epoch, self._first_batch = 0, 0

    @property
    def sampler(self) -> GlobalBatchSampler:
        """Itself: where Lightning looks for `set_epoch`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch; a start inside that same epoch is kept."""
        if epoch != self.epoch:
            self.start_at(epoch, 0)

    def start_at(self, epoch: int, batch: int) -> None:
        """Makes the next iteration begin at `batch` of `epoch`; later ones begin at batch 0."""
        self.epoch, self._first_batch = epoch, batch

    def __len__(self) -> int:
        """Batches in a whole epoch, also where the next iteration begins inside one."""
        return self._length

    def __iter__(self) -> Iterator[Plan]:
        epoch, first = self.epoch, self._first_batch
        self._first_batch = 0
        order = torch.randperm(self.size, generator=_generator(self.seed, epoch, _PERMUTATION))
        for batch in range(first, len(self)):
            start = batch * self.batch_size + self.rank * self._share
            mine = order[start : start + self._share]
            yield Plan(mine, self._flips(epoch, batch), self._crops(epoch, batch))

    def _flips(self, epoch: int, batch: int) -> Tensor | None:
        if not self.flip:
            return None
        draw = torch.rand(self.batch_size, generator=_generator(self.seed, epoch, _FLIP, batch))
        return self._mine(draw) < 0.5

    def _crops(self, epoch: int, batch: int) -> Tensor | None:
        if not self.crop:
            return None
        generator = _generator(self.seed, epoch, _CROP, batch)
        return self._mine(torch.randint(2**63 - 1, (self.batch_size,), generator=generator))

    def _mine(self, drawn: Tensor) -> Tensor:
        """This process's part of what was drawn for the global batch."""
        return drawn[self.rank * self._share :][: self._share]


class EvaluationBatchSampler:
    """Yields this process's share of a split in fixed order: every image once, no padding.

    Rank r takes images r, r + world_size, ... Every rank yields the same number of batches (a
    rank with one image more puts it into its last batch), so collectives in a step stay in step.

    An empty split counts as one batch and yields none: Lightning leaves out an evaluation of no
    batches whole, and the scores and pictures of generated images with it, which need no data.

    Raises ValueError where some ranks would have an image and others none.
    """

    def __init__(self, size: int, batch_size: int, rank: int, world_size: int) -> None:
        self._share = batch_size_per_process(batch_size, world_size)
        if 0 < size < world_size:
            raise ValueError(
                f"{size} images cannot be shared by {world_size} processes; "
                f"evaluate with {size} or fewer, or use a larger split"
            )
        self.size, self.rank, self.world_size = size, rank, world_size

    def __len__(self) -> int:
        """Batches of every rank."""
        return max(1, -(-(self.size // self.world_size) // self._share))

    def __iter__(self) -> Iterator[Plan]:
        if not self.size:
            return
        mine = torch.arange(self.rank, self.size, self.world_size)
        for batch in range(len(self)):
            last = batch == len(self) - 1
            stop = len(mine) if last else (batch + 1) * self._share
            yield Plan(mine[batch * self._share : stop], None)
