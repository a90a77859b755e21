"""A feature network that keeps what it gave: work that was killed goes on where it was."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from metrics.extractors import FeatureExtractor
from metrics.reference import write_atomically


class Remembered(FeatureExtractor):
    """Another extractor's features, from ``folder`` where a batch of the same pixels was seen.

    A batch is known by the SHA-256 of its pixels and of all that its features depend on, so a
    changed image or other weights are new. A file that is damaged is made again; a folder that
    cannot be written costs a warning only.

    Attributes:
        computed: number of batches that were not in the folder.
    """

    def __init__(self, extractor: FeatureExtractor, folder: Path) -> None:
        super().__init__(
            nn.Identity(),
            name=extractor.name,
            dim=extractor.dim,
            num_classes=extractor.num_classes,
            weights_sha256=extractor.weights_sha256,
            resize=extractor.resize,
            antialias=extractor.antialias,
        )
        self.extractor, self.folder, self.computed = extractor, folder, 0

    @property
    def device(self) -> torch.device:
        return self.extractor.device

    def extract(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        path = self.folder / f"{self._key(images)}.safetensors"
        kept = _read(path)
        if kept is None:
            self.computed += 1
            features, logits = self.extractor(images)
            kept = {"features": features} | ({} if logits is None else {"logits": logits})
            _write(path, {name: tensor.cpu().contiguous() for name, tensor in kept.items()})
        return kept["features"], kept.get("logits")

    def _key(self, images: Tensor) -> str:
        of = (self.weights_sha256, self.resize, self.antialias, self.name, tuple(images.shape))
        content = hashlib.sha256(repr(of).encode())
        content.update(images.cpu().contiguous().numpy().tobytes())
        return content.hexdigest()[:32]


def _read(path: Path) -> dict[str, Tensor] | None:
    if not path.is_file():
        return None
    try:
        kept: dict[str, Tensor] = load(path.read_bytes())
        return kept if "features" in kept else None
    except (SafetensorError, OSError):
        return None


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, save(tensors))
    except OSError as error:
        warnings.warn(f"features not kept in {path.parent} ({error})", stacklevel=3)
