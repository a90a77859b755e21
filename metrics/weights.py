"""Weights of feature networks: found, checked to be the stated ones, loaded as tensors only."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from urllib.error import URLError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn


def file_sha256(path: Path) -> str:
    """Give the SHA-256 of a file's bytes, in hex.

    Raises:
        FileNotFoundError: where there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no weights file at {path}: correct the path of the weights")
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def state_sha256(state: Mapping[str, Tensor]) -> str:
    """Give the SHA-256 of tensors with their names, types and shapes, whatever their file."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def check_sha256(path: Path, expected: str | None) -> str:
    """Give the SHA-256 of the file at ``path`` once it is the ``expected`` one (None: any).

    ``expected`` may be a prefix of 8 hex digits or more.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where the hash differs, or ``expected`` is no such hash.
    """
    actual = file_sha256(path)
    if expected is None:
        return actual
    wanted = expected.strip().lower()
    if not 8 <= len(wanted) <= 64 or set(wanted) - set("0123456789abcdef"):
        raise ValueError(f"sha256={expected!r} is not 8 to 64 hex digits; {path} has {actual}")
    if not actual.startswith(wanted):
        raise ValueError(
            f"{path} has SHA-256 {actual}, expected {expected}: it is another or a damaged file"
        )
    return actual


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Give the state dict in a .safetensors or torch file, without running anything it holds.

    Raises:
        ValueError: where the file is damaged or holds more than tensors.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError) as error:
        raise ValueError(
            f"{path} is not a file of plain tensors (damaged, or it holds other objects, which "
            f"are never loaded): save the network's state_dict alone"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{path} holds no state dict: save the network's state_dict alone")
    return state


def load_state(network: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load ``state`` into ``network``; every name and shape must fit.

    Raises:
        ValueError: where one does not, naming ``source``.
    """
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{source} does not fit {type(network).__name__}: {error}") from error


def download(url: str, hash_prefix: str, option: str) -> Path:
    """Give the path of a weights file in torch's hub folder, downloaded there once.

    The file appears under its name only when whole and of the stated hash.

    Args:
        url: where it lies.
        hash_prefix: first hex digits of its SHA-256.
        option: the setting that takes a local path instead, for the error message.

    Raises:
        ValueError: where the network or the hash fails.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=hash_prefix, progress=False)
    except (URLError, OSError, RuntimeError) as error:
        raise ValueError(
            f"could not download {url} ({error}): fetch it elsewhere and give its path as {option}"
        ) from error
    return path
