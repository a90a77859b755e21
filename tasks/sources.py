"""The images that a user gives: found, looked at before they are decoded, brought to a model."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch import Tensor

from datamodules.decode import BrokenImageError, check_image
from datamodules.file_store import Shape, load
from datamodules.image_folder import find_images

LARGEST = 2**26
"""Pixels of the largest image that is decoded; a photograph has 12 to 48 million."""
ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)
INPUT_RULE = "centre crop to a square, bicubic resize with antialias; transparency on white"


@dataclass(frozen=True)
class Source:
    """A file that a user gave.

    Attributes:
        path: where it is.
        name: what its outputs are called after: of a file in a folder the path within it, without
            the suffix.
    """

    path: Path
    name: str

    def result(self, seed: int) -> str:
        """Give what the result of a seed is called: ``NAME_seed0``, within the folder's folders."""
        return f"{self.name}_seed{seed}"


@dataclass(frozen=True)
class Skipped:
    """A file that was left out, and why."""

    path: Path
    reason: str


def find_sources(given: str, output: Path) -> tuple[list[Source], list[Skipped]]:
    """Give the images that a file or a folder names, and files of a folder that are none.

    A folder is searched at any depth, without ``output`` where that lies in it. Nothing is decoded
    but what its header and its end leave in doubt.

    Raises:
        FileNotFoundError: where there is nothing.
        ValueError: for a file that is no image or too large, or a folder without any that is one;
            for two files whose outputs would have one name.
    """
    path = Path(given).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"input={given}: there is no such file or folder")
    if path.is_file():
        if reason := trouble(path):
            raise ValueError(f"input={path}: {reason}")
        return [Source(path, path.stem)], []
    found = [s for s in _in_folder(path) if output.resolve() not in s.path.resolve().parents]
    check_names(found)
    reasons = {source: trouble(source.path) for source in found}
    good = [source for source, reason in reasons.items() if reason is None]
    skipped = [Skipped(source.path, reason) for source, reason in reasons.items() if reason]
    if not good:
        more = f": {skipped[0].path}: {skipped[0].reason}" if skipped else ""
        raise ValueError(f"input={path} holds no image that can be used{more}")
    return good, skipped


def _in_folder(folder: Path) -> list[Source]:
    try:
        names = find_images(folder)
    except FileNotFoundError:
        return []
    return [Source(folder / name, Path(name).with_suffix("").as_posix()) for name in names]


def check_names(sources: Sequence[Source]) -> None:
    """Refuse two files whose outputs would have one name with a ValueError."""
    seen: dict[str, Path] = {}
    for source in sources:
        # Some file systems do not tell capitals from small letters.
        first = seen.setdefault(source.name.casefold(), source.path)
        if first != source.path:
            raise ValueError(
                f"the outputs of {first} and {source.path} would have one name, "
                f"{source.result(0)}.png; rename one of them"
            )


def trouble(path: Path) -> str | None:
    """Give why the image at ``path`` cannot be used, or None; its size is read before all else."""
    try:
        with _opened(path) as image:
            width, height = image.size
        if width * height > LARGEST:
            return f"{width} x {height} pixels are more than {LARGEST:,}; make it smaller first"
        check_image(path)
    except BrokenImageError as error:
        return str(error).removeprefix(f"{path}: ")
    return None


def shown_size(path: Path) -> tuple[int, int]:
    """Give (width, height) after the EXIF rotation, of a file in which there is no ``trouble``."""
    with _opened(path) as image:
        turned = image.getexif().get(ORIENTATION) in TURNED
        return (image.height, image.width) if turned else image.size


def _opened(path: Path) -> Image.Image:
    """Give an image of which the header alone was read; a BrokenImageError where it has none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(path)
    except Image.DecompressionBombError as error:
        raise BrokenImageError(f"{path}: {error}; make it smaller first") from error
    except Exception as error:  # a damaged file can raise anything in a decoder
        raise BrokenImageError(f"{path}: not an image ({type(error).__name__})") from error


def read(source: Source, channels: int, image_size: int) -> Tensor:
    """Give uint8 ``(channels, image_size, image_size)`` of a file by ``INPUT_RULE``.

    A file of that size and square comes back untouched; grey is repeated, colour becomes luma.

    Raises:
        BrokenImageError: where it cannot be decoded after all.
    """
    return load(source.path, Shape(channels, image_size))
