"""FID and its kin, tracked while a model trains and measured at the end, under a protocol."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from tqdm import tqdm

from callbacks.run_record import record_protocol
from lightning_modules.base import ImageModule
from lightning_modules.generation import generate
from metrics.extractors import FeatureExtractor, build_extractor
from metrics.generation import GenerationMetrics, check_request
from metrics.protocol import ProtocolRecord, metric_key
from metrics.reference import ReferenceStatistics, reference_statistics


class GenerationTracker(Callback):
    """Generates from fixed seeds and scores the images against the training split.

    Runs after every k-th validation and, with ``n_final`` images, in the test. All processes
    generate an equal share; features are put in the order of the images, so any number of
    processes gives the same scores. Methods that cannot sample are left alone.

    Args:
        extractor: a name that ``metrics.extractors.build_extractor`` takes.
        extractor_weights, extractor_sha256: local weights and their hash, or None.
        metrics: names among fid, kid, precision, recall, density, coverage, inception_score.
        raw_metrics: those of them to measure on the raw weights too, where an average is kept;
            reported as, say, ``gen/fid-raw/...``. Each set of scores then takes a second sampling.
        n, n_final: images per validation and at the end.
        every_n_validations: k.
        seed: names the stream of images.
        cache: folder of reference statistics.

    Attributes:
        extractor: the network, once training or a test has begun with a method that can sample.
    """

    def __init__(
        self,
        extractor: str,
        extractor_weights: str | None,
        extractor_sha256: str | None,
        metrics: list[str],
        n: int,
        n_final: int,
        every_n_validations: int,
        seed: int,
        cache: str,
        raw_metrics: Sequence[str] = (),
    ) -> None:
        if min(n, n_final) < 2 or every_n_validations < 1:
            raise ValueError(
                f"n={n}, n_final={n_final} and every_n_validations={every_n_validations}: "
                "expected at least 2 images and 1 validation"
            )
        if seed < 0:
            raise ValueError(f"seed={seed} is negative; use 0 or more")
        self.extractor_name = extractor
        self.weights, self.sha256 = extractor_weights, extractor_sha256
        self.metrics, self.raw_metrics = list(metrics), list(raw_metrics)
        self.n, self.n_final = n, n_final
        self.every_n_validations, self.seed, self.cache = every_n_validations, seed, cache
        self.validations = 0
        self.extractor: FeatureExtractor | None = None
        self._reference: ReferenceStatistics | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Load the feature network and the reference now: what is missing shows before training."""
        self._prepare(trainer, pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._prepare(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        self.validations += 1
        if self.validations % self.every_n_validations == 0 or trainer.should_stop:
            self._score(trainer, pl_module, self.n)

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.extractor is not None and trainer.is_global_zero:
            print(f"scoring {self.n_final:,} images", flush=True)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._score(trainer, pl_module, self.n_final)

    def _prepare(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, ImageModule)
        if "sample" not in module.capabilities:
            return
        if self.extractor is None:
            self.extractor = build_extractor(
                self.extractor_name, self.weights, self.sha256, device=module.device
            )
            for metrics in [self.metrics] + [self.raw_metrics] * bool(self.raw_metrics):
                check_request(metrics, self.extractor, min(self.n, self.n_final))
        if self._reference is None:
            data = trainer.datamodule  # type: ignore[attr-defined]
            self._reference = training_reference(self.extractor, data, self.cache)

    def _score(self, trainer: Trainer, module: LightningModule, n: int) -> None:
        if self.extractor is None:
            return
        assert isinstance(module, ImageModule)
        weights = "ema" if module.evaluation_weights else "raw"
        self._report(trainer, module, n, self.metrics, weights)
        if self.raw_metrics and weights == "ema":
            with module.raw():
                self._report(trainer, module, n, self.raw_metrics, "raw", suffix="-raw")

    def _report(
        self,
        trainer: Trainer,
        module: ImageModule,
        n: int,
        metrics: list[str],
        weights: str,
        suffix: str = "",
    ) -> None:
        """Score ``n`` images of the weights that the module holds, under metrics' names."""
        for name, value in self._values(trainer, module, n, metrics).items():
            module.report(metric_key("gen", name + suffix, self.extractor_name, n), value)
        record_protocol(trainer, self.protocol(trainer, module, n, weights))

    def _values(
        self, trainer: Trainer, module: ImageModule, n: int, metrics: list[str]
    ) -> dict[str, float]:
        assert self.extractor is not None and self._reference is not None
        scorer = GenerationMetrics(
            self.extractor, metrics, reference=self._reference, seed=self.seed
        )
        chunks = generate(module, n, self.seed, trainer.global_rank, trainer.world_size)
        hidden = True if trainer.global_rank else None  # None: hidden where there is no terminal
        for chunk in tqdm(chunks, desc=f"{n:,} images to score", leave=False, disable=hidden):
            scorer.update(chunk.images, chunk.indices)
        return scorer.compute()

    def protocol(
        self, trainer: Trainer, module: ImageModule, n: int, weights: str
    ) -> ProtocolRecord:
        """Give what the scores on ``n`` images of ``weights``, "ema" or "raw", stand on."""
        assert self.extractor is not None and self._reference is not None
        data = trainer.datamodule  # type: ignore[attr-defined]
        return protocol(
            self.extractor,
            self._reference,
            dataset=data.name,
            n=n,
            weights=weights,
            precision=str(trainer.precision),
            seed=self.seed,
            sampling=module.sampling_record(),
        )

    def state_dict(self) -> dict[str, Any]:
        return {"validations": self.validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.validations = state_dict["validations"]


def training_reference(extractor: FeatureExtractor, data: Any, cache: str) -> ReferenceStatistics:
    """Give statistics of the official training split of a data module, from ``cache`` if there."""
    batches, fingerprint = data.uint8_batches("reference", 500), data.fingerprint("reference")
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
        sampler=sampling.get("sampler", "one pass"),
        spacing=sampling.get("spacing"),
        nfe=sampling.get("nfe", 1),
        eta=sampling.get("eta"),
        guidance=sampling.get("guidance"),
        weights=weights,
        precision=precision,
        seed=seed,
    )
