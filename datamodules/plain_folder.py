"""A folder of images as it is, nothing resized or cut: what is measured beside another one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from datamodules.decode import read_image
from datamodules.image_folder import find_images


@dataclass(frozen=True)
class PlainFolder:
    """The images below a folder, at any depth, sorted by their relative paths.

    Attributes:
        root: the folder.
        names: of the files, relative to it.
        channels: 1 where all files are grey, else 3.
    """

    root: Path
    names: tuple[str, ...]
    channels: int

    def __len__(self) -> int:
        return len(self.names)

    def batch(self, indices: range) -> Tensor:
        """Give images uint8 ``(N, C, H, W)``.

        Raises:
            ValueError: for a file that cannot be decoded, or is turned to another size by its tags.
        """
        images = [read_image(self.root / self.names[i]) for i in indices]
        sizes = {tuple(image.shape[1:]) for image in images}
        if len(sizes) > 1:
            raise ValueError(f"{self.root} has images of {_sizes(sizes)}; bring them to one size")
        return torch.stack([image.expand(self.channels, -1, -1) for image in images])

    def batches(self, size: int) -> Iterator[Tensor]:
        """Yield all images in order, ``size`` at a time."""
        for start in range(0, len(self), size):
            yield self.batch(range(start, min(start + size, len(self))))

    def fingerprint(self) -> str:
        """Give the SHA-256 of the files' bytes in order; their names are left out."""
        content = hashlib.sha256()
        for name in self.names:
            content.update(hashlib.sha256((self.root / name).read_bytes()).digest())
        return content.hexdigest()


def open_plain_folder(root: Path, n: int | None = None) -> PlainFolder:
    """Give the images below ``root``, the first ``n`` of them, once their headers were looked at.

    Raises:
        FileNotFoundError: where there is no folder, or no image in it.
        ValueError: where it has fewer than ``n`` images, or images of several sizes.
    """
    names = find_images(root)
    if n is not None and n > len(names):
        raise ValueError(f"{root} has {len(names)} images, {n} asked for; leave n out for all")
    names = names[:n]
    sizes, modes = set(), set()
    for name in names:
        try:
            with Image.open(root / name) as image:
                sizes.add(image.size[::-1])
                # torchvision decodes a grey image with a transparent level as colour.
                clear = "transparency" in image.info and not image.mode.startswith("I")
                modes.add("RGBA" if clear else image.mode)
        except (OSError, Image.DecompressionBombError) as error:
            raise ValueError(f"{root / name} cannot be read as an image: {error}") from error
    if len(sizes) > 1:
        raise ValueError(f"{root} has images of {_sizes(sizes)}; bring them to one size")
    grey = modes <= {"1", "L"} or all(mode.startswith("I") for mode in modes)
    return PlainFolder(root, tuple(names), 1 if grey else 3)


def _sizes(sizes: Iterable[tuple[int, ...]]) -> str:
    return ", ".join(" x ".join(map(str, size)) for size in sorted(sizes)[:3])
