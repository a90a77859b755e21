"""PSNR, SSIM and FID of restored test images, beside what needs no model, under a protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from lightning import Trainer
from torch import Tensor

from callbacks.pictures import log_picture, save_picture
from callbacks.restoration_plot import Scores, charts
from callbacks.restoration_scores import keyed, test_chunks, tune
from callbacks.run_record import record_protocol
from callbacks.tracker import Tracker, plain_protocol
from functional.images import to_uint8
from functional.restore_tasks import RestoreTask
from functional.seeding import image_seeds
from lightning_modules.base import ImageModule
from metrics.classical import baselines
from metrics.generation import GenerationMetrics
from metrics.score_table import ScoreTable

Outputs = dict[str, tuple[Tensor, Tensor | None]]
"""By name: images ``(N, C, H, W)`` in [-1, 1], and bool ``(N, 1, H, W)``, what is hidden, or None.
The model's own name is empty."""


class RestorationTracker(Tracker):
    """Scores restored test images on ``restore/<task>/psnr``, ``.../psnr-masked`` and so on.

    The first ``n`` images of the test split after every k-th validation, and ``n_final`` in the
    test, there beside the baselines (``restore/<task>/bilinear/psnr``), with the FID of raw and
    pasted outputs and, as ``restore/floor/fid/...``, that of the test images themselves.

    A method with the capability "restore" has ``restore_tasks``, the names of its usual tasks, and
    ``restore_task(name) -> RestoreTask``; others are left alone. Image i of the split has the i-th
    seed of ``seed``; processes take chunks in turn and rank 0 averages in the order of the images,
    so that any number of them gives the same scores.

    Tasks that differ in strength, as ``denoise-0.2`` and ``denoise-0.5``, are charted at the end,
    shaded over the method's ``trained_strengths``, ranges by kind of task, where it has them.

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
        super().__init__(
            extractor, extractor_weights, extractor_sha256, n, n_final, every_n_validations, seed,
            cache,
        )  # fmt: skip
        self.task_names = None if tasks is None else list(tasks)
        self.tasks: list[RestoreTask] = []
        self._strengths: dict[str, dict[str, float]] = {}

    def begin(self, module: ImageModule) -> bool:
        names = self.task_names
        if names is None:
            names = list(getattr(module, "restore_tasks", ()))
        if "restore" not in module.capabilities or not names:
            return False
        task: Callable[[str], RestoreTask] | None = getattr(module, "restore_task", None)
        if task is None:
            raise ValueError(
                f"{type(module).__name__} knows no task {names[0]!r} of restoring; "
                "set callbacks.restoration.tasks=[]"
            )
        self.tasks = [task(name) for name in names]
        return True

    def score(self, trainer: Trainer, module: ImageModule, n: int, final: bool) -> None:
        n = min(n, trainer.datamodule.split_size("test"))  # type: ignore[attr-defined]
        if n < 2:
            return
        found = {task.name: self._score(trainer, module, task, n, final) for task in self.tasks}
        if final:
            self._show(trainer, module, found)
        if final and self.extractor is not None:
            self._floor(trainer, module, n)

    def _show(self, trainer: Trainer, module: ImageModule, found: Scores) -> None:
        """Save and log charts of the scores against the strength of the corruption."""
        if not trainer.is_global_zero:
            return
        trained = getattr(module, "trained_strengths", {})
        for name, picture in charts(found, type(module).__name__, trained):
            save_picture(picture, Path(trainer.default_root_dir) / "samples" / f"{name}.png")
            caption = f"{module.images_seen:,} images seen"
            log_picture(trainer, f"pictures/{name}", picture, caption, module.images_seen)

    def _score(
        self, trainer: Trainer, module: ImageModule, task: RestoreTask, n: int, final: bool
    ) -> dict[str, dict[str, float]]:
        """Report the scores of a task; give them by the name of the outputs."""
        table = ScoreTable(self._fid_scorer if final else lambda: None)
        if final:
            data = trainer.datamodule  # type: ignore[attr-defined]
            self._strengths[task.name] = tune(data, module, task, self.seed)
        for indices, clean in self._chunks(trainer, module, n):
            for name, (images, hidden) in self._outputs(
                module, task, indices, clean, final
            ).items():
                table.add(name, indices, images, clean, hidden)
        values: dict[str, float] = {}
        found = table.compute()
        for name, scores in found.items():
            place = "/".join(["restore", task.name, *filter(None, [name])])
            values |= keyed(place, scores, self.extractor_name, n)
        for key, value in values.items():
            module.report(key, value)
        self._record(trainer, module, task, n, values)
        return found

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
            found = baselines(corrupted, operator, self._strengths[task.name])
            outputs |= {name: (images.cpu(), hidden) for name, images in found.items()}
        return outputs

    def _chunks(
        self, trainer: Trainer, module: ImageModule, n: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        share = trainer.global_rank, trainer.world_size
        return test_chunks(trainer.datamodule, module, n, share)  # type: ignore[attr-defined]

    def _fid_scorer(self) -> GenerationMetrics | None:
        return None if self.extractor is None else self.scorer(["fid"])

    def _floor(self, trainer: Trainer, module: ImageModule, n: int) -> None:
        """Report the FID of the test images as they are: no output can be expected below it."""
        scorer = self.scorer(["fid"])
        for indices, clean in self._chunks(trainer, module, n):
            scorer.update(to_uint8(clean), indices)
        values = keyed("restore/floor", scorer.compute(), self.extractor_name, n)
        for key, value in values.items():
            module.report(key, value)
        record_protocol(trainer, self.protocol(trainer, n, "raw", {"sampler": "none"}), values)

    def _record(
        self,
        trainer: Trainer,
        module: ImageModule,
        task: RestoreTask,
        n: int,
        values: dict[str, float],
    ) -> None:
        """Add to ``run.json`` what PSNR and SSIM stand on, and FID where it was measured."""
        weights = "ema" if module.evaluation_weights else "raw"
        sampler, corruption = f"restore {task.name}", f"{task.about}, seeds of {self.seed}"
        in_features = [key for key in values if "/fid" in key]
        if in_features:
            record = self.protocol(trainer, n, weights, {"sampler": sampler})
            record_protocol(trainer, replace(record, corruption=corruption), in_features)
        record = plain_protocol(
            trainer.datamodule,  # type: ignore[attr-defined]
            "pixels",
            "test",
            n,
            {"sampler": sampler},
            corruption=corruption,
            weights=weights,
            precision=str(trainer.precision),
            seed=self.seed,
        )
        # Each output meets its own original alone.
        record = replace(record, reference_n=n)
        record_protocol(trainer, record, [key for key in values if key not in in_features])
