"""Statistics of the reference images: computed once, cached by content, written atomically."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from functional.frechet import GaussianFactor, factor_of_covariance
from metrics.extractors import FeatureExtractor
from metrics.gather import broadcast_result

FORMAT = 1
Progress = Callable[[int], None]


@dataclass(frozen=True)
class ReferenceStatistics:
    """What metrics need of the reference images, in the features of one extractor.

    Attributes:
        mean: float64 ``(d,)`` over all images.
        cov: float64 ``(d, d)`` over all images, unbiased.
        n: number of images, 0 where that is not known.
        subset: float32 ``(m, d)``, features of images drawn at random without replacement, in
            random order: any first part of it is again a random subset. Of a plain folder all, in
            order; of a statistics file none.
        fingerprint: of the data.
        extractor_sha256: of the weights.
        sha256: identifies the statistics by what they are made of (data, weights, resize, n). The
            numbers themselves differ in their last bits between machines; this does not.
    """

    mean: Tensor
    cov: Tensor
    n: int
    subset: Tensor
    fingerprint: str
    extractor_sha256: str
    sha256: str

    @cached_property
    def factor(self) -> GaussianFactor:
        """The Gaussian of the reference with its covariance decomposed, once."""
        return factor_of_covariance(self.mean, self.cov)


def reference_statistics(
    extractor: FeatureExtractor,
    batches: Iterable[Tensor],
    fingerprint: str,
    cache_dir: Path | None,
    *,
    subset_size: int | None = 10_000,
    seed: int = 0,
    progress: Progress | None = None,
) -> ReferenceStatistics:
    """Give the statistics of all ``batches``, from the cache where it has them.

    In a distributed job rank 0 does the work and the others receive its result, so every rank must
    call this; ``batches`` is read on rank 0 alone and holds the whole split there.

    Args:
        extractor: the feature network.
        batches: uint8 images ``(N, C, H, W)``; not read at all on a cache hit.
        fingerprint: of content and order of the images (``datamodule.fingerprint(split)``).
        cache_dir: folder of the cache, None for none. A damaged file is made again; a folder that
            cannot be written costs a warning only.
        subset_size: features kept for metrics which need more than moments; None keeps all, in
            the order of the images.
        seed: of the draw of that subset.
        progress: called with the number of images of every batch done.

    Raises:
        ValueError: for fewer than two images, or features that are not finite.
    """
    return broadcast_result(
        lambda: _load_or_compute(
            extractor, batches, fingerprint, cache_dir, subset_size, seed, progress
        )
    )


def _load_or_compute(
    extractor: FeatureExtractor,
    batches: Iterable[Tensor],
    fingerprint: str,
    cache_dir: Path | None,
    subset_size: int | None,
    seed: int,
    progress: Progress | None,
) -> ReferenceStatistics:
    record = {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "extractor": extractor.name,
        "extractor_sha256": extractor.weights_sha256,
        "resize": extractor.resize,
        "antialias": extractor.antialias,
        "subset_size": subset_size,
        "seed": seed,
    }
    path = None if cache_dir is None else Path(cache_dir) / f"{_hash(record)[:32]}.safetensors"
    if path is not None and path.is_file():
        try:
            return _statistics(_read(path, record), record)
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            warnings.warn(f"reference cache {path} is damaged ({error}): made again", stacklevel=3)
    tensors = _accumulate(extractor, batches, subset_size, seed, progress)
    if path is not None:
        _write(path, tensors, record)
    return _statistics(tensors, record)


def _accumulate(
    extractor: FeatureExtractor,
    batches: Iterable[Tensor],
    subset_size: int | None,
    seed: int,
    progress: Progress | None,
) -> dict[str, Tensor]:
    total = torch.zeros(extractor.dim, dtype=torch.float64)
    outer = torch.zeros(extractor.dim, extractor.dim, dtype=torch.float64)
    subset, n = _Subset(extractor.dim, subset_size, seed), 0
    for number, images in enumerate(batches):
        features = extractor(images).features.cpu()
        if not torch.isfinite(features).all():
            raise ValueError(f"features of reference batch {number} are not finite")
        rows = features.double()
        total += rows.sum(dim=0)
        outer.addmm_(rows.T, rows)
        n += len(rows)
        subset.add(features)
        if progress is not None:
            progress(len(rows))
    if n < 2:
        raise ValueError(f"reference statistics need two images or more, got {n}")
    mean = total / n
    cov = (outer - n * torch.outer(mean, mean)) / (n - 1)
    return {"mean": mean, "cov": cov, "n": torch.tensor(n), "subset": subset.rows()}


class _Subset:
    """Rows drawn at random from a stream without replacement, in random order; or all, in order."""

    def __init__(self, dim: int, size: int | None, seed: int) -> None:
        self._parts, self._size = [torch.empty(0, dim)], size
        self._keys = torch.empty(0, dtype=torch.float64)
        self._generator = torch.Generator().manual_seed(seed)

    def add(self, features: Tensor) -> None:
        self._parts.append(features)
        if self._size is None:
            return
        fresh = torch.rand(len(features), dtype=self._keys.dtype, generator=self._generator)
        keys = torch.cat([self._keys, fresh])
        kept = keys.argsort()[: self._size]
        self._keys, self._parts = keys[kept], [torch.cat(self._parts)[kept]]

    def rows(self) -> Tensor:
        return torch.cat(self._parts)


def _statistics(tensors: dict[str, Tensor], record: dict[str, Any]) -> ReferenceStatistics:
    n = int(tensors["n"])
    what = {key: value for key, value in record.items() if key not in ("subset_size", "seed")}
    return ReferenceStatistics(
        mean=tensors["mean"],
        cov=tensors["cov"],
        n=n,
        subset=tensors["subset"],
        fingerprint=record["fingerprint"],
        extractor_sha256=record["extractor_sha256"],
        sha256=_hash(what | {"n": n}),
    )


def _read(path: Path, record: dict[str, Any]) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if metadata.get("record") != json.dumps(record, sort_keys=True):
            raise ValueError("it was made from other data or settings")
        tensors = {name: file.get_tensor(name) for name in ("mean", "cov", "n", "subset")}
    if metadata.get("sha256") != _content_hash(tensors):
        raise ValueError("its content does not have the recorded hash")
    return tensors


def _write(path: Path, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
    metadata = {"record": json.dumps(record, sort_keys=True), "sha256": _content_hash(tensors)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, save(tensors, metadata))
    except OSError as error:
        warnings.warn(
            f"reference statistics not cached in {path.parent} ({error}): they are computed again "
            "next time",
            stacklevel=4,
        )


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` so that ``path`` holds the old or the new bytes whole, whatever happens.

    The temporary file lies beside ``path``: a rename is atomic within one file system only.

    Raises:
        OSError: where the folder cannot be written.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _hash(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _content_hash(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()
