"""PSNR, SSIM and FID of restored test images, beside what needs no model, under a protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from callbacks.generation_metrics import protocol, training_reference
from callbacks.run_record import record_protocol
from functional.images import to_float, to_uint8
from functional.restore_tasks import RestoreTask
from functional.seeding import image_seeds
from lightning_modules.base import ImageModule
from metrics.extractors import FeatureExtractor, build_extractor
from metrics.generation import GenerationMetrics
from metrics.protocol import ProtocolRecord, metric_key
from metrics.reference import ReferenceStatistics
from metrics.restoration import baselines
from metrics.score_table import ScoreTable

CHUNK = 50
"""Images restored at once, at most; few, so that processes have about equal shares of n."""

Outputs = dict[str, tuple[Tensor, Tensor | None]]
"""By name: images ``(N, C, H, W)`` in [-1, 1], and bool ``(N, 1, H, W)``, what is hidden, or None.
The model's own name is empty."""


class RestorationTracker(Callback):
    """Scores restored test images on ``restore/<task>/psnr``, ``.../psnr-masked`` and so on.

    The first ``n`` images of the test split after every k-th validation, and ``n_final`` in the
    test, there beside the baselines (``restore/<task>/bilinear/psnr``), with the FID of raw and
    pasted outputs and, as ``restore/floor/fid/...``, that of the test images themselves.

    A method with the capability "restore" has ``restore_tasks``, the names of its usual tasks, and
    ``restore_task(name) -> RestoreTask``; others are left alone. Image i of the split has the i-th
    seed of ``seed``; processes take chunks in turn and rank 0 averages in the order of the images,
    so that any number of them gives the same scores.

    Args:
        tasks: names that the method knows; None for its usual ones.
        extractor: for FID, a name that ``metrics.extractors.build_extractor`` takes; None for none.
        extractor_weights, extractor_sha256: local weights and their hash, or None.
        n, n_final: images per validation and at the end, or all there are.
        every_n_validations: k.
        seed: names the stream of masks or noise.
        cache: folder of reference statistics.
    """

    def __init__(
        self,
        tasks: Sequence[str] | None,
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
        self.task_names = None if tasks is None else list(tasks)
        self.extractor_name = extractor
        self.weights, self.sha256 = extractor_weights, extractor_sha256
        self.n, self.n_final, self.seed, self.cache = n, n_final, seed, cache
        self.every_n_validations = every_n_validations
        self.validations = 0
        self.tasks: list[RestoreTask] = []
        self.extractor: FeatureExtractor | None = None
        self._reference: ReferenceStatistics | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Build tasks and feature network now: what is missing shows before training."""
        self._prepare(trainer, pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._prepare(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        self.validations += 1
        if self.validations % self.every_n_validations == 0 or trainer.should_stop:
            for task in self.tasks:
                self._score(trainer, pl_module, task, self.n, final=False)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for task in self.tasks:
            self._score(trainer, pl_module, task, self.n_final, final=True)
        if self.tasks and self.extractor is not None:
            self._floor(trainer, pl_module)

    def _prepare(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, ImageModule)
        if "restore" not in module.capabilities:
            return
        names = self.task_names
        if names is None:
            names = list(getattr(module, "restore_tasks", ()))
        if not names:
            return
        task: Callable[[str], RestoreTask] | None = getattr(module, "restore_task", None)
        if task is None:
            raise ValueError(
                f"{type(module).__name__} knows no task {names[0]!r} of restoring; "
                "set callbacks.restoration.tasks=[]"
            )
        self.tasks = [task(name) for name in names]
        if self.extractor is None and self.extractor_name is not None:
            self.extractor = build_extractor(
                self.extractor_name, self.weights, self.sha256, device=module.device
            )
            data = trainer.datamodule  # type: ignore[attr-defined]
            self._reference = training_reference(self.extractor, data, self.cache)

    def _score(
        self, trainer: Trainer, module: LightningModule, task: RestoreTask, n: int, final: bool
    ) -> None:
        assert isinstance(module, ImageModule)
        n = min(n, trainer.datamodule.split_size("test"))  # type: ignore[attr-defined]
        if n < 2:
            return
        table, track = ScoreTable(self._fids if final else lambda: None), f"restore/{task.name}"
        for indices, clean in self._chunks(trainer, module, n):
            for name, (images, hidden) in self._outputs(
                module, task, indices, clean, final
            ).items():
                table.add(name, indices, images, clean, hidden)
        for name, values in table.compute().items():
            for metric, value in values.items():
                place = f"{track}/{name}" if name else track
                of_features = metric.startswith("fid")
                extractor, count = (self.extractor_name, n) if of_features else (None, None)
                module.report(metric_key(place, metric, extractor, count), value)
        self._record(trainer, module, f"restore {task.name}", n, final)

    def _outputs(
        self, module: ImageModule, task: RestoreTask, indices: Tensor, clean: Tensor, final: bool
    ) -> Outputs:
        seeds = image_seeds(self.seed, indices.tolist())
        operator = task.operator(seeds, module.device)
        corrupted = operator.apply(clean.to(module.device))
        mask: Tensor | None = getattr(operator, "mask", None)
        hidden = None if mask is None else mask.cpu()
        with torch.no_grad():
            restored = module.restore(corrupted, operator, seeds=seeds)
        outputs: Outputs = {"": (restored.float().cpu(), hidden)}
        if final:
            filled = baselines(corrupted.cpu(), hidden)
            outputs |= {name: (images, hidden) for name, images in filled.items()}
        return outputs

    def _chunks(
        self, trainer: Trainer, module: ImageModule, n: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Give this process's indices and test images, float32 on the CPU, a chunk at a time."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        size = min(CHUNK, module.chunk_size)
        batches = data.uint8_batches("test", size)
        for number, start in enumerate(range(0, n, size)):
            images = next(batches)[: n - start]
            if number % trainer.world_size == trainer.global_rank:
                yield torch.arange(start, start + len(images)), to_float(images)

    def _fids(self) -> GenerationMetrics | None:
        if self.extractor is None or self._reference is None:
            return None
        return GenerationMetrics(self.extractor, ["fid"], reference=self._reference, seed=self.seed)

    def _floor(self, trainer: Trainer, module: LightningModule) -> None:
        """Report the FID of the test images as they are: no output can be expected below it."""
        assert isinstance(module, ImageModule)
        n = min(self.n_final, trainer.datamodule.split_size("test"))  # type: ignore[attr-defined]
        scorer = self._fids()
        if n < 2 or scorer is None:
            return
        for indices, clean in self._chunks(trainer, module, n):
            scorer.update(to_uint8(clean), indices)
        for name, value in scorer.compute().items():
            module.report(metric_key("restore/floor", name, self.extractor_name, n), value)

    def _record(
        self, trainer: Trainer, module: ImageModule, sampler: str, n: int, final: bool
    ) -> None:
        """Add the protocol of FID, or of PSNR and SSIM alone, to the run's ``run.json``."""
        if not trainer.is_global_zero:
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        weights = "ema" if module.evaluation_weights else "raw"
        shared: dict[str, Any] = {
            "weights": weights,
            "precision": str(trainer.precision),
            "seed": self.seed,
        }
        if final and self.extractor is not None and self._reference is not None:
            record = protocol(
                self.extractor, self._reference, dataset=data.name, n=n,
                sampling={"sampler": sampler}, **shared,
            )  # fmt: skip
        else:
            record = pixel_protocol(data, n, sampler, **shared)
        record_protocol(trainer, record)

    def state_dict(self) -> dict[str, Any]:
        return {"validations": self.validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.validations = state_dict["validations"]


def pixel_protocol(data: Any, n: int, sampler: str, **shared: Any) -> ProtocolRecord:
    """Give the record of PSNR and SSIM, which look at pixels: each output with its own original."""
    return ProtocolRecord(
        extractor="pixels",
        extractor_sha256="",
        resize="none",
        antialias=False,
        reference_dataset=data.name,
        reference_split="test",
        reference_n=n,
        reference_sha256=data.fingerprint("test"),
        n_generated=n,
        sampler=sampler,
        spacing=None,
        nfe=1,
        eta=None,
        guidance=None,
        **shared,
    )
