"""A user's own folder of images, flat or with one sub-folder per class."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from datamodules.base import ImageDataModule
from datamodules.crops import make_crop
from datamodules.decode import BrokenImageError
from datamodules.file_store import FileStore, Shape, check_all, load_all
from datamodules.store import ImageStore, Splits, TensorStore

log = logging.getLogger(__name__)

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
)
IN_MEMORY_BYTES = 64 * 2**20
"""`in_memory="auto"` decodes at the start what needs no more than this."""


class ImageFolder(ImageDataModule):
    """The images below `folder`, at any depth.

    folder: where they are
    num_classes: 0 for images without labels; otherwise the number of sub-folders of `folder`
        with images, whose names in sorted order are the classes
    validation_fraction, test_fraction: share of the images, at least one where not 0
    split_seed: of the split, which depends on the images' relative paths and nothing else
    on_broken: "stop" at a file that cannot be decoded, or "skip" it and name it in the log
    in_memory: true, false, or "auto", which decodes once what needs no more than 64 MiB
    num_workers: processes that decode what is not in memory
    crop: how training images are cut to squares: "center" as all others are, "random" or
        "random_resized"; see `datamodules.crops.Crop`. Only files can be cut at random, so
        nothing is then held in memory
    crop_scale: smallest and largest share of an image's area, for "random_resized"
    The other parameters are those of `ImageDataModule`.
    """

    name = "image_folder"

    def __init__(
        self,
        *,
        batch_size: int,
        channels: int,
        image_size: int,
        num_classes: int,
        seed: int,
        horizontal_flip: bool,
        folder: str,
        validation_fraction: float,
        test_fraction: float,
        split_seed: int,
        on_broken: str,
        in_memory: bool | str,
        num_workers: int,
        crop: str = "center",
        crop_scale: Sequence[float] = (0.2, 1.0),
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            channels=channels,
            image_size=image_size,
            num_classes=num_classes,
            seed=seed,
            horizontal_flip=horizontal_flip,
        )
        _check_choice("on_broken", on_broken, ("skip", "stop"))
        _check_choice("in_memory", in_memory, (True, False, "auto"))
        self.folder, self.on_broken, self.in_memory = folder, on_broken, in_memory
        self.validation_fraction, self.test_fraction = validation_fraction, test_fraction
        self.split_seed, self.num_workers = split_seed, num_workers
        self.crop, self.crop_scale = crop, crop_scale
        self.cut = make_crop(crop, crop_scale)
        self.random_crops = self.cut.is_random
        if self.random_crops and in_memory is True:
            raise ValueError(
                f"crop={crop!r} cuts whole images, and in_memory=True holds them cut already; set "
                "data.in_memory=auto, or data.crop=center"
            )

    def open_splits(self) -> Splits:
        """The folder, checked and split.

        Raises FileNotFoundError where it is missing or empty and ValueError where a file is
        broken, the classes do not match or there are too few images.
        """
        _check_choice("channels", self.channels, (1, 3))
        root = Path(self.folder).expanduser()
        names = find_images(root)
        labels = self._labels(root, names)
        names, store = self._open_readable(root, names, labels)
        fractions = self.validation_fraction, self.test_fraction
        train, validation, test = split_by_hash(names, *fractions, self.split_seed)
        reference = torch.cat([train, validation]).sort().values
        return Splits(*(store.subset(part) for part in (train, validation, test, reference)))

    def _labels(self, root: Path, names: Sequence[str]) -> Tensor:
        of_image = [name.split("/")[0] if "/" in name else "" for name in names]
        classes = sorted(set(of_image) - {""})
        if not self.num_classes:
            if classes:
                log.info("%s: %d sub-folders are not taken as classes", root, len(classes))
            return torch.full((len(names),), -1)
        found = ", ".join(classes[:10]) + (", ..." if len(classes) > 10 else "")
        if len(classes) != self.num_classes:
            raise ValueError(
                f"num_classes={self.num_classes}, but {root} has {len(classes)} sub-folders with "
                f"images ({found or 'none'}); set data.num_classes={len(classes)}"
            )
        if "" in of_image:
            raise ValueError(
                f"{root / names[of_image.index('')]} lies beside the class folders ({found}); "
                "move it into one, or set data.num_classes=0 for images without labels"
            )
        return torch.tensor([classes.index(name) for name in of_image])

    def _open_readable(
        self, root: Path, names: Sequence[str], labels: Tensor
    ) -> tuple[list[str], ImageStore]:
        """The names that can be decoded, and their store."""
        shape = Shape(self.channels, self.image_size)
        size = len(names) * self.channels * self.image_size**2
        small = size <= IN_MEMORY_BYTES and not self.random_crops
        decode = small if self.in_memory == "auto" else bool(self.in_memory)
        checked = load_all(root, names, shape) if decode else check_all(root, names)
        kept = self._drop_broken(root, checked)
        good, labels = [names[i] for i in kept], labels[torch.tensor(kept)]
        images = [image for image in checked if isinstance(image, Tensor)]
        if images:
            return good, TensorStore(torch.stack(images), labels)
        skip = self.on_broken == "skip"
        return good, FileStore(root, good, labels, shape, skip, self.cut)

    def _drop_broken(self, root: Path, checked: Sequence[object]) -> list[int]:
        """Positions of the files that are whole."""
        errors = [result for result in checked if isinstance(result, BrokenImageError)]
        if len(errors) == len(checked):
            raise ValueError(
                f"none of the {len(checked)} images in {root} can be read: {errors[0]}"
            )
        if errors and self.on_broken == "stop":
            raise ValueError(
                f"{len(errors)} of {len(checked)} images in {root} cannot be read: {errors[0]}; "
                "repair or remove them, or set data.on_broken=skip"
            )
        for error in errors:
            log.warning("broken image, left out: %s", error)
        return [i for i, result in enumerate(checked) if not isinstance(result, BrokenImageError)]


def find_images(root: Path) -> list[str]:
    """Paths of all image files below `root`, relative, sorted, with "/" between their parts.

    Links are followed; hidden files and folders are left out.
    Raises FileNotFoundError where there is none.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}; set data.folder to your images")
    names, seen = [], set()
    for folder, below, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            below.clear()
            continue
        seen.add(real)
        below[:] = [name for name in below if not name.startswith(".")]
        names += [Path(folder, file).relative_to(root) for file in files]
    found = sorted(path.as_posix() for path in names if _is_image(path))
    if not found:
        raise FileNotFoundError(
            f"{root} holds no image ({' '.join(sorted(SUFFIXES))}); set data.folder to your images"
        )
    return found


def split_by_hash(
    names: Sequence[str], validation_fraction: float, test_fraction: float, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Positions of (training, validation, test), each in rising order.

    The order of the names' hashes decides, so that adding or removing files moves few of the
    others. Raises ValueError where a split would be empty.
    """
    fractions = validation_fraction, test_fraction
    if not all(0 <= fraction < 1 for fraction in fractions) or sum(fractions) >= 1:
        raise ValueError(
            f"validation_fraction={validation_fraction} and test_fraction={test_fraction} must be "
            "0 or more and leave something to train on; use 0.05 each"
        )
    held_out = [max(1, round(f * len(names))) if f else 0 for f in fractions]
    if len(names) <= sum(held_out):
        raise ValueError(
            f"{len(names)} images are too few for training, validation and test; use at least "
            f"{sum(held_out) + 1}, or set data.validation_fraction=0 or data.test_fraction=0"
        )
    order = sorted(range(len(names)), key=lambda i: _rank_of(names[i], seed))
    parts = torch.split(torch.tensor(order), [*held_out, len(names) - sum(held_out)])
    validation, test, train = (part.sort().values for part in parts)
    return train, validation, test


def _rank_of(name: str, seed: int) -> bytes:
    return hashlib.sha256(os.fsencode(f"{seed}/{name}")).digest()


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _check_choice(key: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{key}={value!r} is unknown; use one of {', '.join(map(str, choices))}")
