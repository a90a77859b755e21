"""Any image file as 8-bit grey or colour pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

_WHITE = (255, 255, 255, 255)
_JPEG_END, _PNG_END = b"\xff\xd9", b"\x00\x00\x00\x00IEND\xaeB`\x82"


class BrokenImageError(ValueError):
    """An image file that cannot be decoded; the message names the file and the reason."""


def read_image(path: Path) -> Tensor:
    """The pixels of a file, uint8 (C, H, W), C = 1 for grey and 3 for colour.

    Turned as its EXIF tag says; transparency on white; 16 bits per pixel scaled to 8; palette,
    CMYK and other colour spaces as RGB; of an animation the first frame. Pillow's limit against
    decompression bombs holds.

    Raises BrokenImageError.
    """
    try:
        with Image.open(path) as image:
            image.load()
            pixels = _eight_bits(ImageOps.exif_transpose(image))
    except Exception as error:  # a damaged file can raise anything in a decoder
        raise BrokenImageError(f"{path}: {type(error).__name__}: {error}") from error
    return torch.from_numpy(pixels).view(*pixels.shape[:2], -1).permute(2, 0, 1).contiguous()


def check_image(path: Path) -> None:
    """Raises BrokenImageError where the header or the end of the file is damaged.

    Cheap: only a file whose end is not as its format wants it is decoded.
    """
    try:
        with Image.open(path) as image:
            kind = image.format
    except Exception as error:
        raise BrokenImageError(f"{path}: {type(error).__name__}: {error}") from error
    end = {"JPEG": _JPEG_END, "PNG": _PNG_END}.get(kind or "")
    if end is None or not _tail(path).endswith(end):
        read_image(path)


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-min(path.stat().st_size, 64), 2)
        return file.read().rstrip(b"\x00" if path.suffix.lower() in (".jpg", ".jpeg") else b"")


def _eight_bits(image: Image.Image) -> np.ndarray:
    """The pixels as a writable array, (H, W) for grey and (H, W, 3) for colour."""
    if image.mode == "F":
        raise ValueError("pixels are floating point, of no known range; save them as 8 or 16 bits")
    if image.mode.startswith("I"):
        return _from_sixteen_bits(np.asarray(image))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), image)
    return np.array(image.convert("L" if image.mode in ("1", "L") else "RGB"))


def _from_sixteen_bits(values: np.ndarray) -> np.ndarray:
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(f"pixels reach {values.max()}, more than 16 bits; save them as 16 bits")
    return np.round(values / 257).astype(np.uint8)
