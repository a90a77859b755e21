"""FID and its kin, tracked while a model trains and measured at the end, under a protocol."""

from __future__ import annotations

import time
from collections.abc import Sequence

from lightning import LightningModule, Trainer
from tqdm import tqdm

from callbacks.run_record import record, record_protocol
from callbacks.tracker import Tracker
from lightning_modules.base import ImageModule
from lightning_modules.generation import generate
from metrics.extractors import FeatureExtractor
from metrics.generation import check_request
from metrics.protocol import metric_key


class GenerationTracker(Tracker):
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
        sampling_seconds: that this process took for its share of the last images scored.
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
        super().__init__(
            extractor, extractor_weights, extractor_sha256, n, n_final, every_n_validations, seed,
            cache,
        )  # fmt: skip
        self.metrics, self.raw_metrics = list(metrics), list(raw_metrics)
        self.sampling_seconds = 0.0

    def begin(self, module: ImageModule) -> bool:
        return "sample" in module.capabilities

    def check(self, extractor: FeatureExtractor) -> None:
        for metrics in [self.metrics] + [self.raw_metrics] * bool(self.raw_metrics):
            check_request(metrics, extractor, min(self.n, self.n_final))

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.active and trainer.is_global_zero:
            print(f"scoring {self.n_final:,} images", flush=True)

    def score(self, trainer: Trainer, module: ImageModule, n: int, final: bool) -> None:
        weights = "ema" if module.evaluation_weights else "raw"
        self._report(trainer, module, n, self.metrics, weights)
        if final:
            record(trainer, seconds_per_1000_samples=round(1000 * self.sampling_seconds / n, 4))
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
        values = {
            metric_key("gen", name + suffix, self.extractor_name, n): value
            for name, value in self._values(trainer, module, n, metrics).items()
        }
        for key, value in values.items():
            module.report(key, value)
        record_protocol(
            trainer, self.protocol(trainer, n, weights, module.sampling_record()), values
        )

    def _values(
        self, trainer: Trainer, module: ImageModule, n: int, metrics: list[str]
    ) -> dict[str, float]:
        scorer, self.sampling_seconds = self.scorer(metrics), 0.0
        chunks = generate(module, n, self.seed, trainer.global_rank, trainer.world_size)
        hidden = True if trainer.global_rank else None  # None: hidden where there is no terminal
        started = time.perf_counter()
        for chunk in tqdm(chunks, desc=f"{n:,} images to score", leave=False, disable=hidden):
            self.sampling_seconds += time.perf_counter() - started
            scorer.update(chunk.images, chunk.indices)
            started = time.perf_counter()
        return scorer.compute()
