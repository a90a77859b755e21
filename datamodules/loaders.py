"""Loaders that go on inside an epoch: from a tensor without workers, from files with them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from datamodules.batch import Batch
from datamodules.order import EvaluationBatchSampler, GlobalBatchSampler, Plan
from datamodules.progress import Resumable
from datamodules.store import ImageStore

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


class _PlannedBatches(Dataset[Batch]):
    """A store as torch's DataLoader sees it: a whole batch per request."""

    def __init__(self, store: ImageStore) -> None:
        self._store = store

    def __len__(self) -> int:
        return len(self._store)

    def __getitems__(self, plan: Plan) -> Batch:
        return self._store.batch(plan)

    def __getitem__(self, index: int) -> Batch:
        return self._store.batch(Plan(torch.tensor([index]), None))


def _as_made(batch: Any) -> Any:
    return batch


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
        self._loader: DataLoader[Batch] = DataLoader(
            _PlannedBatches(store),
            batch_sampler=batch_sampler,  # type: ignore[arg-type]
            collate_fn=_as_made,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            prefetch_factor=4 if num_workers else None,
            pin_memory=torch.cuda.is_available(),
            # Of its own: each iteration draws from it, and must leave the global one as it is.
            generator=torch.Generator(),
        )

    def _batches(self) -> Iterator[Batch]:
        return iter(self._loader)
