"""The contract of every data set of the platform."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from weakref import WeakSet

import torch
from lightning import LightningDataModule
from torch import Tensor, distributed

from datamodules.batch import Batch as Batch
from datamodules.loaders import BatchSampler, ImageLoader, TensorLoader, WorkerLoader, in_workers
from datamodules.order import (
    EvaluationBatchSampler,
    GlobalBatchSampler,
    Plan,
    batch_size_per_process,
)
from datamodules.progress import Position, done, upcoming
from datamodules.store import ImageStore, Splits, TensorStore

SPLITS = Splits._fields


class ImageDataModule(LightningDataModule, ABC):
    """Train, validation and test loaders of one image set, whose batches are `Batch`.

    batch_size: images per optimiser step over all processes (global)
    channels, image_size: shape of the images, (channels, image_size, image_size)
    num_classes: number of labels; 0 where the set has none, and labels are then -1
    seed: of the order and of the augmentation
    horizontal_flip: mirror each training image with probability 1/2

    A data set gives `name`, `open_splits` and, if it can be downloaded, `prepare_data`. Its
    `content` says what may be measured and shown of it: "images" have pixels, and so features and
    FID; "points", images of two channels and one pixel, have `points(split)` instead. The order
    is a function of (seed, epoch), and a run that is resumed goes on with exactly the next batch.
    The Trainer must be made with `use_distributed_sampler=False`.
    """

    name = "images"
    content = "images"
    num_workers = 0
    resident = "cpu"
    random_crops = False

    def __init__(
        self,
        *,
        batch_size: int,
        channels: int,
        image_size: int,
        num_classes: int,
        seed: int,
        horizontal_flip: bool,
    ) -> None:
        super().__init__()
        if seed < 0:
            raise ValueError(f"seed={seed} is negative; use 0 or more")
        batch_size_per_process(batch_size, 1)
        if image_size < 1:
            raise ValueError(f"image_size={image_size} is not a positive number of pixels")
        self.batch_size, self.seed, self.horizontal_flip = batch_size, seed, horizontal_flip
        self.channels, self.image_size, self.num_classes = channels, image_size, num_classes
        self._splits: Splits | None = None
        self._start: Position | None = None
        self._moved: dict[tuple[int, torch.device], Tensor] = {}
        self._with_workers: WeakSet[WorkerLoader] = WeakSet()

    @abstractmethod
    def open_splits(self) -> Splits:
        """The splits, with images of shape (channels, image_size, image_size).

        Raises FileNotFoundError where the data is missing and ValueError where it does not fit
        the settings.
        """

    def setup(self, stage: str | None = None) -> None:
        """Opens the data and checks it, once, for every stage."""
        size = self.split_size("train")
        if stage == "fit":
            self._training_sampler(size)

    @property
    def splits(self) -> Splits:
        """The opened splits."""
        if self._splits is None:
            self._splits = self.open_splits()
        return self._splits

    def teardown(self, stage: str | None = None) -> None:
        """Ends the worker processes of all loaders."""
        for loader in self._with_workers:
            loader.close()

    def on_exception(self, exception: BaseException) -> None:
        """Ends the worker processes of all loaders."""
        self.teardown()

    def train_dataloader(self) -> ImageLoader:
        """Shuffled, augmented batches of the training split; the last, incomplete one is left out.

        Raises ValueError where `batch_size` is not divisible by the number of processes or
        exceeds the split.
        """
        store = self._resident("train")
        return self._loader(store, self._training_sampler(len(store)))

    def val_dataloader(self) -> ImageLoader:
        """Batches of the validation split in fixed order; none where it is empty."""
        return self._evaluation_loader("validation")

    def test_dataloader(self) -> ImageLoader:
        """Batches of the test split in fixed order; none where it is empty."""
        return self._evaluation_loader("test")

    def split_size(self, split: str) -> int:
        """Number of images in "train", "validation", "test" or "reference"."""
        return len(self._store(split))

    def uint8_batches(
        self, split: str, batch_size: int, rank: int = 0, world_size: int = 1
    ) -> Iterator[Tensor]:
        """Stored pixels, uint8 (n, C, H, W) on the CPU, without augmentation, in fixed order.

        Of `world_size` processes, `rank` gets images rank, rank + world_size, ...: every image
        goes to one process only.
        """
        store = self._store(split)
        share = torch.arange(rank, len(store), world_size)
        shares = torch.split(share, batch_size) if len(share) else ()
        if isinstance(store, TensorStore):
            return map(store.pixels, shares)
        return iter(in_workers(store.pixels, shares, self.num_workers))

    @property
    def augments(self) -> bool:
        """Whether a training image differs from epoch to epoch."""
        return self.horizontal_flip or self.random_crops

    def train_on(self, positions: Tensor) -> None:
        """Leaves of the training split the images at `positions` alone; call it before training."""
        self._splits = self.splits._replace(train=self.splits.train.subset(positions))

    def training_batch(self, positions: Tensor) -> Batch:
        """The training images at `positions` (int64), where batches are made, not augmented."""
        return self._resident("train").batch(Plan(positions, None))

    def fingerprint(self, split: str) -> str:
        """SHA-256 (hex) over the content of a split and the settings that change its pixels."""
        digest = hashlib.sha256()
        store = self._store(split)
        digest.update(f"{len(store)} x {self.channels} x {self.image_size}\n".encode())
        store.update(digest)
        return digest.hexdigest()

    def state_dict(self) -> dict[str, int]:
        """Where training stands: `epoch`, `batch`, the number of its batches that are done, and
        `images`, the size of the training split that this order is one of."""
        position = done(self.trainer) if self.trainer else self._start
        if not position:
            return {}
        return {"epoch": position[0], "batch": position[1], "images": self.split_size("train")}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Makes the next iteration over the training split begin where `state_dict` says.

        Under a Trainer its own progress, restored from the same checkpoint, has the last word.
        Raises ValueError where the training split has another size than then.
        """
        if state_dict:
            then, now = state_dict.get("images"), self.split_size("train")
            if then not in (None, now):
                raise ValueError(
                    f"the training split of {self.name} has {now} images, but {then} when the run "
                    "was stopped; bring the data back or start a new run"
                )
            self._start = state_dict["epoch"], state_dict["batch"]

    def next_position(self) -> Position | None:
        """Where the next iteration over the training split begins; None: as the sampler stands."""
        if self.trainer is not None and self.trainer.training:
            return upcoming(self.trainer) or (0, self.split_size("train") // self.batch_size)
        start, self._start = self._start, None
        return start

    def check_channels(self, found: int) -> None:
        """Raises ValueError where `channels` cannot be made from `found` channels."""
        if self.channels != found and {self.channels, found} != {1, 3}:
            raise ValueError(
                f"channels={self.channels}, but the images of {self.name} have {found}; use "
                "1 (grey) or 3 (colour)"
            )

    def check_classes(self, found: int) -> None:
        """Raises ValueError where `num_classes` is not the `found` number of the data."""
        if self.num_classes != found:
            raise ValueError(
                f"num_classes={self.num_classes}, but {self.name} has {found}; "
                f"set data.num_classes={found}"
            )

    def _process(self) -> tuple[int, int]:
        """(rank, number of processes)."""
        if self.trainer is not None:
            return self.trainer.global_rank, self.trainer.world_size
        if distributed.is_available() and distributed.is_initialized():
            return distributed.get_rank(), distributed.get_world_size()
        return 0, 1

    def _training_sampler(self, size: int) -> GlobalBatchSampler:
        rank, world_size = self._process()
        return GlobalBatchSampler(
            size,
            self.batch_size,
            rank,
            world_size,
            self.seed,
            self.horizontal_flip,
            self.random_crops,
        )

    def _store(self, split: str) -> ImageStore:
        if split not in SPLITS:
            raise ValueError(f"split={split!r} is unknown; use one of {', '.join(SPLITS)}")
        store: ImageStore = getattr(self.splits, split)
        return store

    def _resident(self, split: str) -> ImageStore:
        """A split with its pixels where batches are to be made."""
        store = self._store(split)
        if self.resident == "cpu" or not isinstance(store, TensorStore):
            return store
        device = self._accelerator()
        key = id(store.images), device
        if key not in self._moved:
            self._moved[key] = store.images.to(device)
        return store.on(self._moved[key])

    def _accelerator(self) -> torch.device:
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cuda")
        if device.type == "cpu" or not torch.cuda.is_available():
            raise ValueError("resident='gpu' needs a GPU; use resident='cpu'")
        return device

    def _evaluation_loader(self, split: str) -> ImageLoader:
        store, (rank, world_size) = self._resident(split), self._process()
        return self._loader(
            store, EvaluationBatchSampler(len(store), self.batch_size, rank, world_size)
        )

    def _loader(self, store: ImageStore, sampler: BatchSampler) -> ImageLoader:
        owner = self if isinstance(sampler, GlobalBatchSampler) else None
        if store.in_memory:
            return TensorLoader(store, sampler, owner)
        loader = WorkerLoader(store, sampler, owner, num_workers=self.num_workers)
        self._with_workers.add(loader)
        return loader
