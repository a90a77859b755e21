"""CelebA (Liu et al., 2015): aligned faces, decoded by workers."""

from __future__ import annotations

from pathlib import Path

import torch
import torchvision
from torchvision.datasets.utils import check_integrity

from datamodules.base import ImageDataModule
from datamodules.download import try_download
from datamodules.file_store import FileStore, Shape
from datamodules.store import Splits, hold_out

PARTITION = "list_eval_partition.txt"
IMAGES = "img_align_celeba"


class CelebA(ImageDataModule):
    """202,599 colour faces of 178 x 218 pixels in their official splits, without labels.

    data_dir: torchvision's root; the files are `data_dir`/celeba/list_eval_partition.txt and
        `data_dir`/celeba/img_align_celeba/*.jpg
    download: fetch them with torchvision, which needs the package gdown
    crop: side of the central square that is taken before the resize
    validation_size: images of the official validation split that are used, always the same ones;
        the training split, and the reference, is the official one
    num_workers: processes that decode
    The other parameters are those of `ImageDataModule`.
    """

    name = "celeba"

    def __init__(
        self,
        *,
        batch_size: int,
        channels: int,
        image_size: int,
        num_classes: int,
        seed: int,
        horizontal_flip: bool,
        validation_size: int,
        num_workers: int,
        crop: int,
        data_dir: str,
        download: bool,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            channels=channels,
            image_size=image_size,
            num_classes=num_classes,
            seed=seed,
            horizontal_flip=horizontal_flip,
        )
        if not 1 <= crop <= 178:
            raise ValueError(f"crop={crop} must lie between 1 and 178, the width of the images")
        self.validation_size, self.num_workers, self.crop = validation_size, num_workers, crop
        self.data_dir, self.download = data_dir, download
        self._failure = "" if download else " (it is false now)"

    @property
    def folder(self) -> Path:
        """`data_dir`/celeba."""
        return Path(self.data_dir).expanduser() / "celeba"

    def prepare_data(self) -> None:
        """Downloads the files where they are missing; a failure is told by `setup`."""
        if self.download and not (self.folder / IMAGES).is_dir():
            failure = try_download(torchvision.datasets.CelebA, self.folder.parent)
            self._failure = f" ({failure})" if failure else ""

    def open_splits(self) -> Splits:
        """The official splits.

        Raises FileNotFoundError where files are missing and ValueError where the list of splits
        is not the published one.
        """
        self.check_channels(3)
        self.check_classes(0)
        train, validation, test = (self._store_of(names) for names in self._partition())
        held_out = hold_out(len(validation), self.validation_size)[1]
        return Splits(train, validation.subset(held_out), test, train)

    def _partition(self) -> list[list[str]]:
        """File names of (training, validation, test)."""
        path = self.folder / PARTITION
        if not path.is_file() or not (self.folder / IMAGES).is_dir():
            raise FileNotFoundError(
                f"CelebA was not found: {path} and {self.folder / IMAGES}/ are needed. Put them "
                "there, or set data.data_dir to the folder above, or set data.download=true with "
                f"a network and the package gdown at hand{self._failure}"
            )
        expected = next(row[1] for row in torchvision.datasets.CelebA.file_list if PARTITION in row)
        if not check_integrity(str(path), expected):
            raise ValueError(f"{path} is not the published list (MD5 {expected}); fetch it again")
        rows = [line.split() for line in path.read_text().splitlines() if line]
        self._check_files([name for name, _ in rows])
        return [[name for name, part in rows if part == wanted] for wanted in "012"]

    def _check_files(self, names: list[str]) -> None:
        missing = sorted(set(names) - {path.name for path in (self.folder / IMAGES).iterdir()})
        if missing:
            raise FileNotFoundError(
                f"{len(missing)} of {len(names)} images are missing in {self.folder / IMAGES}, "
                f"for example {missing[0]}; unpack img_align_celeba.zip there again"
            )

    def _store_of(self, names: list[str]) -> FileStore:
        shape = Shape(self.channels, self.image_size, self.crop)
        labels = torch.full((len(names),), -1)
        return FileStore(self.folder / IMAGES, names, labels, shape)
