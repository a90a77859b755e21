"""The protocol of a metric's value: what must be equal before two values may be compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

ID_LENGTH = 10
MEASUREMENT = (
    "extractor",
    "extractor_sha256",
    "resize",
    "antialias",
    "reference_dataset",
    "reference_split",
    "reference_n",
    "reference_sha256",
    "n_generated",
    "quantisation",
    "corruption",
    "draws",
)
"""The fields that say how is measured; the others say what is measured."""
OPTIONAL = ("corruption", "draws")
"""Fields that a record leaves out where they are None, so that they changed no earlier id."""


@dataclass(frozen=True, kw_only=True)
class ProtocolRecord:
    """Everything a metric's value depends on beside the model.

    Attributes:
        extractor: name of the feature network.
        extractor_sha256: of its weights.
        resize: size and interpolation images are brought to for it.
        antialias: whether that interpolation low-passes.
        reference_dataset: name of the data set compared with.
        reference_split: its split.
        reference_n: its number of images.
        reference_sha256: identifies the reference statistics (``ReferenceStatistics.sha256``).
        n_generated: number of generated images.
        quantisation: how floats become the images that are measured.
        sampler: name of the sampler, "one pass" where there is no chain.
        spacing: of the sampler's steps, None where it has none.
        nfe: number of function evaluations per image.
        eta: of DDIM, None elsewhere.
        guidance: its scale, None without guidance.
        weights: "ema" or "raw".
        precision: of the model while it samples, as Lightning names it.
        seed: of the first image.
        corruption: what was done to the images that are restored; None for images from noise.
        draws: whose way of drawing KID's subsets and the Inception Score's splits where it is not
            that of a run's scores; else None.
    """

    extractor: str
    extractor_sha256: str
    resize: str
    antialias: bool
    reference_dataset: str
    reference_split: str
    reference_n: int
    reference_sha256: str
    n_generated: int
    quantisation: str = "uint8, rounded"
    sampler: str
    spacing: str | None
    nfe: int
    eta: float | None
    guidance: float | None
    weights: str
    precision: str
    seed: int
    corruption: str | None = None
    draws: str | None = None

    @property
    def id(self) -> str:
        """The protocol id: the first hex digits of the SHA-256 of the record."""
        return short_hash(self.as_dict())

    @property
    def measurement_id(self) -> str:
        """As ``id``, over the fields of the measurement alone: the same for every method."""
        record = self.as_dict()
        return short_hash({name: record[name] for name in MEASUREMENT if name in record})

    def as_dict(self) -> dict[str, Any]:
        """Give the record as plain values, for JSON."""
        record = asdict(self)
        return {k: v for k, v in record.items() if v is not None or k not in OPTIONAL}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ProtocolRecord:
        """Give the record that ``as_dict`` gave these values.

        Raises:
            ValueError: where a field is missing or unknown.
        """
        names = {field.name for field in fields(cls)}
        if missing := sorted(names - set(values) - set(OPTIONAL)):
            raise ValueError(f"the protocol record lacks {missing}: evaluate the run again")
        if unknown := sorted(set(values) - names):
            raise ValueError(f"the protocol record has the unknown fields {unknown}")
        return cls(**values)


def differences(a: ProtocolRecord, b: ProtocolRecord) -> dict[str, tuple[Any, Any]]:
    """Give the fields in which two records differ, with both values, in the record's order."""
    left, right = asdict(a), asdict(b)
    return {name: (left[name], right[name]) for name in left if left[name] != right[name]}


def metric_key(track: str, metric: str, extractor: str | None = None, n: int | None = None) -> str:
    """Give ``track/metric/extractor@n``, such as ``gen/fid/fmnist_cnn@2k``.

    Whole thousands are written with a k (2000 is ``2k``, 2048 stays ``2048``). Without an
    extractor the key is ``track/metric``, such as ``restore/denoise-0.5/psnr``.

    Raises:
        ValueError: where only one of ``extractor`` and ``n`` is given, or ``n`` is not positive.
    """
    if extractor is None and n is None:
        return f"{track}/{metric}"
    if extractor is None or n is None or n < 1:
        raise ValueError(f"extractor {extractor!r} and n={n} (>= 1) belong together in a key")
    count = f"{n // 1000}k" if n % 1000 == 0 else str(n)
    return f"{track}/{metric}/{extractor}@{count}"


def short_hash(values: Mapping[str, Any]) -> str:
    """Give the first hex digits of the SHA-256 of values as canonical JSON (sorted, no spaces)."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:ID_LENGTH]
