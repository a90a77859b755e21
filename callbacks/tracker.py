"""What trackers of scores share: feature network, reference, protocol, and when they measure."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from lightning_modules.base import ImageModule
from metrics.extractors import FeatureExtractor, build_extractor
from metrics.generation import GenerationMetrics
from metrics.protocol import ProtocolRecord
from metrics.reference import ReferenceStatistics, reference_statistics


class Tracker(Callback):
    """Measures ``n`` images after every k-th validation and ``n_final`` in the test.

    A subclass says in ``begin`` whether it has anything to measure, and measures in ``score``; data
    whose ``content`` is not the subclass's are left alone.

    Args:
        extractor: a name that ``metrics.extractors.build_extractor`` takes; None for none.
        extractor_weights, extractor_sha256: local weights and their hash, or None.
        n, n_final: images per validation and at the end.
        every_n_validations: k.
        seed: names the stream of images.
        cache: folder of reference statistics.

    Attributes:
        active: whether method and data have what is measured; known once training or a test begins.
        extractor, reference: from then on, where active and an extractor is named.
    """

    content = "images"

    def __init__(
        self,
        extractor: str | None,
        extractor_weights: str | None,
        extractor_sha256: str | None,
        n: int,
        n_final: int,
        every_n_validations: int,
        seed: int,
        cache: str,
    ) -> None:
        if min(n, n_final) < 2 or every_n_validations < 1 or seed < 0:
            raise ValueError(
                f"{n=}, {n_final=}, {every_n_validations=}, {seed=}: "
                "expected at least 2 images, 1 validation and a seed of 0"
            )
        self.extractor_name = extractor
        self.weights, self.sha256 = extractor_weights, extractor_sha256
        self.n, self.n_final, self.seed, self.cache = n, n_final, seed, cache
        self.every_n_validations, self.validations = every_n_validations, 0
        self.active = False
        self.extractor: FeatureExtractor | None = None
        self.reference: ReferenceStatistics | None = None

    @abstractmethod
    def begin(self, module: ImageModule) -> bool:
        """Tell whether the method has what is measured; refuse settings that it cannot honour."""

    @abstractmethod
    def score(self, trainer: Trainer, module: ImageModule, n: int, final: bool) -> None:
        """Measure ``n`` images and report; ``final`` in the test."""

    def check(self, extractor: FeatureExtractor) -> None:
        """Refuse, before any work, scores that cannot be had in the features of ``extractor``."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Load the feature network and the reference now: what is missing shows before training."""
        self._prepare(trainer, pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._prepare(trainer, pl_module)

    def _prepare(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, ImageModule)
        data = trainer.datamodule  # type: ignore[attr-defined]
        self.active = data.content == self.content and self.begin(module)
        if not self.active or self.extractor_name is None or self.reference is not None:
            return
        self.extractor = build_extractor(
            self.extractor_name, self.weights, self.sha256, device=module.device
        )
        self.check(self.extractor)
        self.reference = training_reference(self.extractor, data, self.cache)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        self.validations += 1
        due = self.validations % self.every_n_validations == 0 or trainer.should_stop
        if self.active and due:
            assert isinstance(pl_module, ImageModule)
            self.score(trainer, pl_module, self.n, final=False)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.active:
            assert isinstance(pl_module, ImageModule)
            self.score(trainer, pl_module, self.n_final, final=True)

    def scorer(self, metrics: Sequence[str]) -> GenerationMetrics:
        """Give a collector of images that gives their ``metrics`` against the reference."""
        assert self.extractor is not None and self.reference is not None
        return GenerationMetrics(self.extractor, metrics, reference=self.reference, seed=self.seed)

    def protocol(
        self, trainer: Trainer, n: int, weights: str, sampling: dict[str, Any]
    ) -> ProtocolRecord:
        """Give what scores on ``n`` images of ``weights``, "ema" or "raw", stand on."""
        assert self.extractor is not None and self.reference is not None
        data = trainer.datamodule  # type: ignore[attr-defined]
        return protocol(
            self.extractor,
            self.reference,
            dataset=data.name,
            n=n,
            weights=weights,
            precision=str(trainer.precision),
            seed=self.seed,
            sampling=sampling,
        )

    def state_dict(self) -> dict[str, Any]:
        return {"validations": self.validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.validations = state_dict["validations"]


def training_reference(extractor: FeatureExtractor, data: Any, cache: str) -> ReferenceStatistics:
    """Give statistics of the official training split of a data module, from ``cache`` if there."""
    return split_reference(extractor, data, cache, "reference")


def split_reference(
    extractor: FeatureExtractor, data: Any, cache: str, split: str
) -> ReferenceStatistics:
    """As :func:`training_reference`, of any split of the data."""
    batches, fingerprint = data.uint8_batches(split, 500), data.fingerprint(split)
    return reference_statistics(extractor, batches, fingerprint, Path(cache))


def protocol(
    extractor: FeatureExtractor,
    reference: ReferenceStatistics,
    *,
    dataset: str,
    n: int,
    weights: str,
    precision: str,
    seed: int,
    sampling: dict[str, Any],
    split: str = "train",
    draws: str | None = None,
) -> ProtocolRecord:
    """Give the record of scores of ``n`` images against ``reference``."""
    return ProtocolRecord(
        extractor=extractor.name,
        extractor_sha256=extractor.weights_sha256,
        resize=extractor.resize,
        antialias=extractor.antialias,
        reference_dataset=dataset,
        reference_split=split,
        reference_n=reference.n,
        reference_sha256=reference.sha256,
        n_generated=n,
        **_drawn_by(sampling),
        weights=weights,
        precision=precision,
        seed=seed,
        draws=draws,
    )


def plain_protocol(
    data: Any, measured: str, split: str, n: int, sampling: dict[str, Any], **of_the_model: Any
) -> ProtocolRecord:
    """Give the record of scores that need no network, of ``n`` images against a whole split.

    Args:
        measured: what stands in the place of features, such as "pixels".
        sampling: of the method, see :func:`protocol`.
        of_the_model: weights, precision and seed; corruption where there is one.
    """
    return ProtocolRecord(
        extractor=measured,
        extractor_sha256="",
        resize="none",
        antialias=False,
        reference_dataset=data.name,
        reference_split=split,
        reference_n=data.split_size(split),
        reference_sha256=data.fingerprint(split),
        n_generated=n,
        **_drawn_by(sampling),
        **of_the_model,
    )


def _drawn_by(sampling: dict[str, Any]) -> dict[str, Any]:
    return {
        "sampler": sampling.get("sampler", "one pass"),
        "spacing": sampling.get("spacing"),
        "nfe": sampling.get("nfe", 1),
        "eta": sampling.get("eta"),
        "guidance": sampling.get("guidance"),
    }
