"""The idx files of MNIST and its successors, plain or gzipped."""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from pathlib import Path

import torch
from torch import Tensor

_UINT8 = 8


def find_idx(folder: Path, name: str) -> Path | None:
    """The file `name` or `name`.gz in `folder`; None where neither is there."""
    candidates = (folder / name, folder / f"{name}.gz")
    return next((path for path in candidates if path.is_file()), None)


def read_idx(path: Path, sha256: str | None = None) -> Tensor:
    """The uint8 array in an idx file, any number of axes.

    sha256: what the file's content (unzipped) must hash to
    Raises ValueError where the file is truncated, of another kind, or hashes to something else.
    """
    content = _content(path)
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256:
        raise ValueError(
            f"{path}: SHA-256 of the content is {found}, expected {sha256}; "
            "delete the file and fetch it again"
        )
    return _parse(content, path)


def _content(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix != ".gz":
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is not a whole gzip file ({error}); fetch it again") from error


def _parse(content: bytes, path: Path) -> Tensor:
    axes = content[3] if len(content) > 3 else 0
    start = 4 + 4 * axes
    if content[:3] != bytes((0, 0, _UINT8)) or not axes or len(content) < start:
        raise ValueError(f"{path} is not an idx file of bytes: it begins with {content[:4]!r}")
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)]
    if len(content) - start != math.prod(shape):
        raise ValueError(
            f"{path} holds {len(content) - start} bytes, but its header says {shape}; "
            "fetch it again"
        )
    return torch.frombuffer(bytearray(content[start:]), dtype=torch.uint8).view(shape)
