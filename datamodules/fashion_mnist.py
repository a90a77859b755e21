"""Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017): the real set, whole and as a small draw."""

from __future__ import annotations

import hashlib
import io
import logging
from pathlib import Path

import numpy as np
import torch
import torchvision

from datamodules.download import DownloadedDataModule
from datamodules.idx import find_idx, read_idx
from datamodules.in_memory import Images, InMemoryDataModule

log = logging.getLogger(__name__)

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
"""Of the content of the four files, unzipped."""

MINI = Path(__file__).parent / "assets" / "fashion_mnist_mini.npz"
MINI_SHA256 = "cf9cd26cca92a58dfa164db9a4e8b20319c6eca61c729a704dcd3aee9ada41c3"


def read_folder(folder: Path) -> tuple[Images, Images] | None:
    """Training and test split from the four idx files in `folder`, checked; None if one is missing.

    Raises ValueError where a file is not the published one.
    """
    paths = {name: find_idx(folder, name) for name in SHA256}
    found = {name: path for name, path in paths.items() if path is not None}
    if len(found) < len(SHA256):
        return None
    arrays = [read_idx(path, SHA256[name]) for name, path in found.items()]
    train, test = arrays[:2], arrays[2:]
    return Images(train[0].unsqueeze(1), train[1]), Images(test[0].unsqueeze(1), test[1])


class FashionMNIST(DownloadedDataModule):
    """The real set: 60,000 training and 10,000 test images, 28 x 28 grey, 10 classes.

    data_dir: folder with the idx files (plain or .gz), or with torchvision's FashionMNIST/raw
    download: fetch the files into `data_dir` where neither it nor the Debian package has them
    The other parameters are those of `InMemoryDataModule`.
    """

    name = "fashion_mnist"
    dataset = torchvision.datasets.FashionMNIST

    def folders(self) -> list[Path]:
        """Where the files may lie, in the order in which they are looked for."""
        return [self.root, self.root / "FashionMNIST" / "raw", DEBIAN_FOLDER]

    def present(self) -> bool:
        """Whether one of the folders has all four files."""
        return any(all(find_idx(folder, name) for name in SHA256) for folder in self.folders())

    def read(self) -> tuple[Images, Images]:
        """Both splits, from the first folder that has all four files."""
        for folder in self.folders():
            splits = read_folder(folder)
            if splits is not None:
                log.info("Fashion-MNIST is read from %s", folder)
                return splits
        given, raw, debian = self.folders()
        raise FileNotFoundError(
            "Fashion-MNIST was not found. Either (1) put its four idx files (plain or .gz) into "
            f"{given} or {raw}, or set data.data_dir; or (2) install the Debian package "
            f"dataset-fashion-mnist, which puts them into {debian}; or (3) set data.download=true "
            f"with a network at hand{self.failure}. data=fashion_mnist_mini needs none of them."
        )


class FashionMNISTMini(InMemoryDataModule):
    """A draw of the real set that ships here: 10,000 training and 2,000 test images.

    Every class has 1,000 training and 200 test images. `datamodules/assets/README.md` says how
    they were drawn. The parameters are those of `InMemoryDataModule`.
    """

    name = "fashion_mnist_mini"

    def read(self) -> tuple[Images, Images]:
        """Both splits, from the shipped file, whose checksum is verified."""
        arrays = _load_checked(MINI, MINI_SHA256)
        train, test = (
            Images(
                torch.from_numpy(arrays[f"{split}_images"]).unsqueeze(1),
                torch.from_numpy(arrays[f"{split}_labels"]),
            )
            for split in ("train", "test")
        )
        return train, test


def _load_checked(path: Path, sha256: str) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing, but ships with the repository; restore it")
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ValueError(
            f"{path}: SHA-256 is {found}, expected {sha256}; restore the file from the repository"
        )
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return dict(archive)
