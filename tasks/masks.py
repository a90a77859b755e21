"""Which pixels of a user's images are hidden: by a file, a box, strokes of a brush or patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
import torchvision.transforms.functional as tv
from torch import Tensor

from datamodules.decode import read_image
from datamodules.image_folder import SUFFIXES
from datamodules.preprocessing import match_channels
from functional.brush import brush_strokes
from functional.corruption import Masking
from functional.seeding import ImageNoise
from tasks.sources import Source, shown_size, trouble

ImageShape = tuple[int, int, int]
WAYS = ("file", "box", "strokes", "patches")
MOST_STROKES = 100


@dataclass(frozen=True)
class Mask:
    """How pixels are chosen; one of the first four is given.

    Attributes:
        file: an image, or a folder with one of each input's name: white or transparent is hidden.
            As large as the input, whose crop and resize it goes through (a pixel is then hidden
            where any of what it covers is), or as large as the model's images.
        box: [top, left, height, width] in pixels of the model.
        strokes: how many random strokes of a brush.
        patches: share of random patches, in (0, 1).
        patch: side of a patch in pixels of the model.
        seed: of strokes and patches; the same for every image.

    Raises:
        ValueError: for settings that make no sense, or none or several of the first four.
    """

    file: str | None
    box: Sequence[int] | None
    strokes: int | None
    patches: float | None
    patch: int
    seed: int

    def __post_init__(self) -> None:
        given = [way for way in WAYS if getattr(self, way) is not None]
        if len(given) != 1:
            found = " and ".join(f"mask.{way}" for way in given) or "none"
            raise ValueError(
                "what is to be filled in? give one of mask.file=FILE, mask.box=[top,left,height,"
                f"width], mask.strokes=4 and mask.patches=0.5; here {found} is given"
            )
        if self.box is not None and (len(self.box) != 4 or min(self.box[2:]) < 1):
            raise ValueError(f"mask.box={list(self.box)}; expected [top,left,height,width]")
        if self.strokes is not None and not 1 <= self.strokes <= MOST_STROKES:
            raise ValueError(f"mask.strokes={self.strokes}; expected 1 to {MOST_STROKES}")
        if self.patches is not None and not 0 < self.patches < 1:
            raise ValueError(f"mask.patches={self.patches}; expected a share between 0 and 1")
        if self.seed < 0:
            raise ValueError(f"mask.seed={self.seed} is negative; use 0 or more")

    def check(self, sources: Sequence[Source], shape: ImageShape) -> None:
        """Refuse a box or files that do not fit the images, before any is decoded."""
        if self.box is not None:
            _check_box(self.box, shape)
        if self.patches is not None:
            Masking(self.patches, self.patch).check(shape)
        if self.file is not None:
            for source in sources:
                _check_file(self.file_of(source), source, shape)

    def file_of(self, source: Source) -> Path:
        """Give the file of an image's mask; a FileNotFoundError where a folder has none."""
        path = Path(str(self.file)).expanduser()
        if not path.is_dir():
            return path
        beside = sorted((path / source.name).parent.glob("*"))
        name = Path(source.name).name
        found = [p for p in beside if p.stem == name and p.suffix.lower() in SUFFIXES]
        if not found:
            raise FileNotFoundError(f"mask.file={path} holds no mask for {source.path}")
        return found[0]

    def hidden(self, sources: Sequence[Source], shape: ImageShape) -> Tensor:
        """Give bool ``(N, 1, H, W)``, True for what is hidden."""
        if self.file is not None:
            masks = [_from_file(self.file_of(source), shape) for source in sources]
            return torch.stack(masks)
        if self.box is not None:
            top, left, height, width = self.box
            mask = torch.zeros(1, 1, *shape[1:], dtype=torch.bool)
            mask[..., top : top + height, left : left + width] = True
        elif self.strokes is not None:
            mask = brush_strokes(self.strokes, shape[1:], ImageNoise([self.seed]))
        else:
            masking = Masking(float(self.patches or 0), self.patch)
            mask = masking.draw(ImageNoise([self.seed]), shape).mask
        return mask.expand(len(sources), -1, -1, -1)


def _check_box(box: Sequence[int], shape: ImageShape) -> None:
    top, left, height, width = box
    if min(top, left) < 0 or top + height > shape[1] or left + width > shape[2]:
        raise ValueError(
            f"mask.box={list(box)}, rows {top} to {top + height} and columns {left} to "
            f"{left + width}, reaches over the model's {shape[1]} x {shape[2]} pixels"
        )


def _check_file(mask: Path, source: Source, shape: ImageShape) -> None:
    if not mask.is_file():
        raise FileNotFoundError(f"mask.file={mask}: there is no such file")
    if reason := trouble(mask):
        raise ValueError(f"mask.file={mask}: {reason}")
    size, wanted = shown_size(mask), shown_size(source.path)
    if size not in (wanted, (shape[2], shape[1])):
        raise ValueError(
            f"mask.file={mask} has {size[0]} x {size[1]} pixels, but {source.path} has "
            f"{wanted[0]} x {wanted[1]} and the model {shape[2]} x {shape[1]}; give it either size"
        )


def _from_file(path: Path, shape: ImageShape) -> Tensor:
    """Give bool ``(1, H, W)``; cropped as its image, a pixel hidden where any it covers is."""
    white = match_channels(read_image(path), 1) >= 128
    if white.shape[1:] == shape[1:]:
        return white
    square = tv.center_crop(white, [min(white.shape[1:])] * 2)
    return F.adaptive_max_pool2d(square.float(), list(shape[1:])) > 0.5
