"""What a browser sends: images as data URLs, held to limits before any of them is decoded."""

from __future__ import annotations

import base64
import binascii
import io
import re
import warnings
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from datamodules.decode import read_image
from tasks.sources import LARGEST, Source, read, trouble

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""Of the files that are opened; some others of Pillow's start programs."""
DATA_URL = re.compile(r"data:[\w.+-]{0,40}/?[\w.+-]{0,40};base64,")


def file_bytes(url: Any, megabytes: float) -> bytes:
    """Give the bytes of a data URL.

    Raises:
        ValueError: for anything else, or more than ``megabytes``.
    """
    if not isinstance(url, str) or not (head := DATA_URL.match(url)):
        raise ValueError("the image did not arrive; upload it again")
    if (len(url) - head.end()) * 3 / 4 > megabytes * 1e6 + 2:
        size = len(url) * 0.75e-6
        raise ValueError(f"the file has {size:.1f} MB; give one of at most {megabytes:g} MB")
    try:
        return base64.b64decode(url[head.end() :], validate=True)
    except binascii.Error as error:
        raise ValueError("the image did not arrive whole; upload it again") from error


def write_image(content: bytes, path: Path) -> Source:
    """Write the bytes of an image file to ``path``; its header is looked at, no pixel decoded.

    Raises:
        ValueError: for what is no image or too large, without the path.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                width, height = image.size
    except Image.DecompressionBombError:
        raise ValueError(f"the image has more than {LARGEST:,} pixels; make it smaller") from None
    except Exception as error:  # a damaged file can raise anything in a decoder
        raise ValueError(
            f"this is no image of a kind that is read: {', '.join(FORMATS)}"
        ) from error
    if width * height > LARGEST:
        raise ValueError(
            f"the image has {width} x {height} pixels, more than {LARGEST:,}; make it smaller"
        )
    path.write_bytes(content)
    if reason := trouble(path):
        raise ValueError(f"the image cannot be used: {reason}")
    return Source(path, path.stem)


def write_mask(content: bytes, path: Path) -> Path:
    """Write a mask as :func:`write_image` does; a ValueError where nothing of it is white."""
    write_image(content, path)
    if not bool((read_image(path) >= 128).any()):
        raise ValueError("nothing is masked: paint over what is to be filled in")
    return path


def brought_to_size(content: bytes, path: Path, shape: tuple[int, int, int]) -> Tensor:
    """Give uint8 ``(C, H, W)`` of an image file, as every task begins with it."""
    return read(write_image(content, path), shape[0], shape[1])


def png(image: Tensor) -> bytes:
    """Give uint8 ``(C, H, W)`` as a PNG file."""
    file = io.BytesIO()
    to_pil_image(image).save(file, "PNG")
    return file.getvalue()


def data_url(content: bytes) -> str:
    """Give the data URL of a PNG file."""
    return "data:image/png;base64," + base64.b64encode(content).decode()
