"""Loaders that go on inside an epoch: from a tensor without workers, from files with them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from datamodules.batch import Batch
from datamodules.order import EvaluationBatchSampler, GlobalBatchSampler
from datamodules.progress import Resumable
from datamodules.store import ImageStore

Result = TypeVar("Result")
BatchSampler = GlobalBatchSampler | EvaluationBatchSampler


class ImageLoader(ABC):
    """Yields the batches of a split in the order of its sampler.

    `owner` of a training loader says where the next iteration begins. It is asked when the first
    batch is fetched, not by `iter()`: Lightning calls `iter()` before it has worked out where a
    resumed run stands. Having a state tells Lightning that the loader can be resumed.
    """

    def __init__(
        self,
        store: ImageStore,
        batch_sampler: BatchSampler,
        owner: Resumable | None = None,
    ) -> None:
        self.store = store
        self.batch_sampler = batch_sampler
        self._owner = owner

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[Batch]:
        position = self._owner.next_position() if self._owner else None
        if position is not None and isinstance(self.batch_sampler, GlobalBatchSampler):
            self.batch_sampler.start_at(*position)
        yield from self._batches()

    def state_dict(self) -> dict[str, int]:
        """The position of the owner."""
        return self._owner.state_dict() if self._owner else {}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Sets the position of the owner."""
        if self._owner:
            self._owner.load_state_dict(state_dict)

    @abstractmethod
    def _batches(self) -> Iterator[Batch]:
        """The batches from where the sampler stands."""


class TensorLoader(ImageLoader):
    """Batches gathered from one tensor: no workers, no work per image."""

    def _batches(self) -> Iterator[Batch]:
        return map(self.store.batch, self.batch_sampler)


class WorkerLoader(ImageLoader):
    """Batches that `num_workers` processes decode ahead; pinned where there is a GPU."""

    def __init__(
        self,
        store: ImageStore,
        batch_sampler: BatchSampler,
        owner: Resumable | None = None,
        *,
        num_workers: int,
    ) -> None:
        super().__init__(store, batch_sampler, owner)
        self._num_workers = num_workers
        self._loader: DataLoader[Batch] | None = None

    def close(self) -> None:
        """Ends the worker processes; the next iteration starts new ones.

        Left to the garbage collector, torch waits five seconds for each of them.
        """
        self._loader = None

    def _batches(self) -> Iterator[Batch]:
        if self._loader is None:
            workers = self._num_workers
            self._loader = in_workers(
                self.store.batch, self.batch_sampler, workers, stay=workers > 0
            )
        return iter(self._loader)


def in_workers(
    make: Callable[[Any], Result], requests: Iterable[Any], num_workers: int, stay: bool = False
) -> DataLoader[Result]:
    """What `make` gives for each of `requests`, in order, made ahead by `num_workers` processes.

    stay: keep the processes for the next iteration
    """
    return DataLoader(
        _Requests(make),
        batch_sampler=requests,
        collate_fn=_as_made,
        num_workers=num_workers,
        persistent_workers=stay,
        prefetch_factor=4 if num_workers else None,
        pin_memory=torch.cuda.is_available(),
        # Of its own: each iteration draws from it, and must leave the global one as it is.
        generator=torch.Generator(),
    )


class _Requests(Dataset[Result]):
    """A function as torch's DataLoader sees it: a data set that is asked for whole batches."""

    def __init__(self, make: Callable[[Any], Result]) -> None:
        self._make = make

    def __getitem__(self, request: Any) -> Result:
        return self._make(request)

    def __getitems__(self, request: Any) -> Result:
        return self._make(request)


def _as_made(made: Any) -> Any:
    return made
