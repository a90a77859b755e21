"""Draws `fashion_mnist_mini.npz` from the full Fashion-MNIST: the same bytes every time.

    python -m datamodules.assets.make_fashion_mnist_mini FOLDER [OUTPUT.npz]

FOLDER holds the four idx files, plain or gzipped. numpy's zip stores no time stamps, so that the
bytes depend on the draw and on zlib's compressor alone.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.fashion_mnist import MINI, read_folder
from datamodules.in_memory import Images

PER_CLASS = {"train": 1000, "test": 200}
SEED = 20170825


def draw(split: Images, per_class: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`per_class` images of every class, in the order in which they stand in the full set."""
    labels = split.labels.numpy()
    # The legacy generator's stream is frozen, unlike that of `default_rng`.
    random = np.random.RandomState(seed)
    chosen = [
        random.permutation(np.flatnonzero(labels == label))[:per_class] for label in range(10)
    ]
    positions = np.sort(np.concatenate(chosen))
    return split.pixels.squeeze(1).numpy()[positions], labels[positions]


def make(folder: Path, output: Path) -> str:
    """Writes the small set drawn from `folder` to `output` and gives its SHA-256 (hex)."""
    splits = read_folder(folder)
    if splits is None:
        raise FileNotFoundError(f"{folder} does not hold the four idx files of Fashion-MNIST")
    arrays: dict[str, Any] = {}
    for name, split in zip(("train", "test"), splits, strict=True):
        images, labels = draw(split, PER_CLASS[name], SEED)
        arrays |= {f"{name}_images": images, f"{name}_labels": labels}
    with output.open("wb") as file:
        np.savez_compressed(file, **arrays)
    return hashlib.sha256(output.read_bytes()).hexdigest()


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    target = Path(sys.argv[2]) if len(sys.argv) == 3 else MINI
    print(make(Path(sys.argv[1]), target), target)
