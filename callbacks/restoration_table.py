"""Restored test images of a trained run, task by task, under every way to restore that it has."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from callbacks.metric_group import (
    Finding,
    MetricGroup,
    Report,
    UsedRun,
    combinations,
    run_extractor,
)
from callbacks.restoration_report import markdown
from callbacks.restoration_scores import keyed, test_chunks, tune
from callbacks.tracker import plain_protocol, protocol, training_reference
from functional.images import to_uint8
from functional.masking import MASKS, REGIONS
from functional.restore_tasks import RestoreTask, split_name
from functional.seeding import image_seeds
from lightning_modules.base import ImageModule
from metrics.classical import baselines
from metrics.extractors import FeatureExtractor
from metrics.gather import broadcast_result
from metrics.generation import GenerationMetrics
from metrics.lpips import PerceptualDistance
from metrics.protocol import ProtocolRecord
from metrics.reference import ReferenceStatistics
from metrics.restoration import consistency
from metrics.score_table import ScoreTable

Row = dict[str, Any]
HIDDEN_PIECES = {*MASKS, *REGIONS}


class Restoration(MetricGroup):
    """PSNR, SSIM, FID and data consistency of the first ``n`` test images, restored.

    ``restore/<task>/consistency`` is the root mean square of A x - y per image, noise left out of
    A. Beside each task's baselines, which need no model, and the FID of the test images
    themselves, ``restore/floor``. A task that the method cannot do is a row with the reason.
    ``restoration.csv`` and ``restoration.md`` have evaluations and seconds an image as well.

    Args:
        tasks: names (see ``functional.restore_tasks``).
        restoring: the values to try of each setting of the method's ``restoring``, where it has
            any: ``{restorer: [ddnm, repaint]}``.
        lpips_weights: file of the network of LPIPS (see ``metrics.lpips``); None leaves LPIPS out.

    Raises:
        ValueError: without a task.
    """

    capability = "restore"
    tells_all = True

    def __init__(
        self,
        tasks: Sequence[str],
        restoring: Mapping[str, Sequence[Any]],
        lpips_weights: str | None = None,
    ) -> None:
        if not tasks:
            raise ValueError("no task of restoring; give groups.restoration.tasks=[random-75]")
        self.tasks = list(tasks)
        self.restoring = {key: list(values) for key, values in restoring.items() if values != []}
        self.lpips = PerceptualDistance(lpips_weights) if lpips_weights else None

    def check(self, run: UsedRun) -> None:
        if run.content != "images" or run.asked["n"] < 2:
            raise ValueError(f"n={run.asked['n']} of {run.content}; expected 2 images or more")
        for _, chosen in self._ways(run):
            run.variant({}, run.asked["weights"], chosen)
        reasons = [self._task(run.module, name) for name in self.tasks]
        if all(isinstance(reason, str) for reason in reasons):
            raise ValueError(str(reasons[0]))

    def measure(self, run: UsedRun, data: Any) -> Report:
        extractor = run_extractor(run)
        reference = training_reference(extractor, data, run.asked["paths"]["cache"])
        bench = Bench(run, data, extractor, reference, self.lpips)
        report = Report(findings=[bench.floor()])
        for name in self.tasks:
            task = self._task(run.module, name)
            if isinstance(task, str):
                report.rows.append({"task": name, "restorer": "all", "refused": task})
                continue
            known, found = bench.baselines(task)
            report.findings += found
            report.rows += [
                {"task": name, "restorer": f"[{label}]", **row} for label, row in known.items()
            ]
            for label, chosen in tqdm(self._ways(run), desc=name, disable=run.share[0] > 0 or None):
                module = run.variant({}, run.asked["weights"], chosen)
                try:
                    row, found = bench.restored(task, module)
                except ValueError as error:
                    row, found = {"refused": str(error)}, []
                report.findings += found
                report.rows.append({"task": name, "restorer": label, **row})
        report.text = markdown(report.rows)
        report.files = {"restoration.md": f"# {run.folder.name}\n\n{report.text}\n"}
        return report

    def _ways(self, run: UsedRun) -> list[tuple[str, dict[str, Any]]]:
        """Give the label and the settings of each way to restore."""
        if run.module.restoring is None or not self.restoring:
            return [(type(run.module).__name__, {})]
        many = [key for key, values in self.restoring.items() if len(values) > 1]
        return [
            (", ".join(str(c[key]) for key in many or c), c) for c in combinations(self.restoring)
        ]

    def _task(self, module: ImageModule, name: str) -> RestoreTask | str:
        """Give the task, or why the method cannot do it."""
        kinds = {split_name(usual)[0] for usual in getattr(module, "restore_tasks", ())}
        kinds |= HIDDEN_PIECES if kinds & HIDDEN_PIECES else set()
        if kinds and split_name(name)[0] not in kinds:
            return f"trained for {', '.join(getattr(module, 'restore_tasks', ()))}"
        try:
            task: RestoreTask = module.restore_task(name)  # type: ignore[operator]
        except ValueError as error:
            return str(error)
        return task


def timed(restore: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """Give the images, float32, and the seconds until the device has them."""
    started = time.perf_counter()
    images = restore().float()
    if images.is_cuda:
        torch.cuda.synchronize(images.device)
    return images, time.perf_counter() - started


def _again(error: ValueError | None) -> None:
    if error is not None:
        raise error


def _kind(key: str) -> str:
    """Say what a score stands on: features, LPIPS' network, or pixels alone."""
    return "fid" if "/fid" in key else "lpips" if key.endswith("/lpips") else "pixels"


class Bench:
    """Measures ways to restore on the same images, corrupted alike."""

    def __init__(
        self,
        run: UsedRun,
        data: Any,
        extractor: FeatureExtractor,
        reference: ReferenceStatistics,
        lpips: PerceptualDistance | None,
    ) -> None:
        self.run, self.data, self.extractor, self.reference = run, data, extractor, reference
        self.lpips = lpips
        self.n = min(run.asked["n"], data.split_size("test"))
        self.seed = run.asked["seed"]

    def restored(self, task: RestoreTask, module: ImageModule) -> tuple[Row, list[Finding]]:
        """Give the scores of a way to restore, and what they stand on.

        Raises:
            ValueError: where it is none for the task.
        """
        table, seconds, done = ScoreTable(self.scorer), 0.0, 0
        record: dict[str, Any] = {"nfe": 1}
        refused: ValueError | None = None
        try:
            for indices, clean in self.chunks():
                seeds, operator, corrupted = self._corrupted(task, indices, clean)
                if hasattr(module, "restoring_record"):
                    record = module.restoring_record(operator)  # type: ignore[operator]
                images, took = timed(lambda: module.restore(corrupted, operator, seeds=seeds))  # noqa: B023
                seconds, done = seconds + took, done + len(indices)
                self._score(table, "", indices, images, clean, corrupted, operator)
        except ValueError as error:
            refused = error
        # Rank 0 has images whenever any has: what it cannot do, none goes on with.
        broadcast_result(lambda: _again(refused))
        scores = table.compute()[""]
        told = ", ".join(filter(None, [f"restore {task.name}", record.get("sampler")]))
        costs = {"nfe": record["nfe"], "seconds_per_image": round(seconds / max(done, 1), 4)}
        values = keyed(f"restore/{task.name}", scores, self.extractor.name, self.n)
        found = self._findings(task, values, {**record, "sampler": told}, costs)
        return {**scores, **costs, "protocol": found[0].protocol.id}, found

    def baselines(self, task: RestoreTask) -> tuple[dict[str, Row], list[Finding]]:
        """Give the scores of what needs no model, by its name, and what they stand on."""
        table, strengths = (
            ScoreTable(self.scorer),
            tune(self.data, self.run.module, task, self.seed),
        )
        for indices, clean in self.chunks():
            _, operator, corrupted = self._corrupted(task, indices, clean)
            for name, images in baselines(corrupted, operator, strengths).items():
                self._score(table, name, indices, images, clean, corrupted, operator)
        found = table.compute()
        values: dict[str, float] = {}
        for name, scores in found.items():
            place = f"restore/{task.name}/{name}"
            values |= keyed(place, scores, self.extractor.name, self.n)
        findings = self._findings(task, values, {"sampler": f"restore {task.name}"}, {})
        return {n: {**s, "protocol": findings[0].protocol.id} for n, s in found.items()}, findings

    def floor(self) -> Finding:
        """Give the FID of the test images as they are: no output can be expected below it."""
        scorer = self.scorer()
        for indices, clean in self.chunks():
            scorer.update(to_uint8(clean), indices)
        scores = keyed("restore/floor", scorer.compute(), self.extractor.name, self.n)
        return Finding(scores, self._in_features({"sampler": "none"}, "raw"))

    def chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield places and test images, this process's share."""
        return test_chunks(self.data, self.run.module, self.n, self.run.share)

    def scorer(self) -> GenerationMetrics:
        """Give a collector of images that gives their FID."""
        return GenerationMetrics(self.extractor, ["fid"], reference=self.reference, seed=self.seed)

    def _corrupted(
        self, task: RestoreTask, indices: Tensor, clean: Tensor
    ) -> tuple[list[int], Any, Tensor]:
        seeds, device = image_seeds(self.seed, indices.tolist()), self.run.module.device
        operator = task.operator(seeds, device)
        return seeds, operator, operator.apply(clean.to(device))

    def _findings(
        self,
        task: RestoreTask,
        values: dict[str, float],
        sampling: dict[str, Any],
        costs: dict[str, Any],
    ) -> list[Finding]:
        """Give the scores of pixels and those in features, each with its protocol."""
        corruption, weights = f"{task.about}, seeds of {self.seed}", self.run.asked["weights"]
        pixels = plain_protocol(
            self.data, "pixels", "test", self.n, sampling, corruption=corruption, weights=weights,
            precision=self._precision, seed=self.seed,
        )  # fmt: skip
        # Each output meets its own original alone.
        pairs = replace(pixels, reference_n=self.n)
        records = {
            "pixels": pairs,
            "fid": replace(self._in_features(sampling, weights), corruption=corruption),
        }
        if self.lpips:
            records["lpips"] = replace(
                pairs,
                extractor=self.lpips.name,
                extractor_sha256=self.lpips.sha256,
                resize=self.lpips.resize(self.run.module.image_shape[-1]),
            )
        kinds = {key: _kind(key) for key in values}
        return [
            Finding({k: v for k, v in values.items() if kinds[k] == kind}, record, costs)
            for kind, record in records.items()
        ]

    @property
    def _precision(self) -> str:
        return str(self.run.config["trainer"]["precision"])

    def _in_features(self, sampling: dict[str, Any], weights: str) -> ProtocolRecord:
        return protocol(
            self.extractor, self.reference, dataset=self.data.name, n=self.n, weights=weights,
            precision=self._precision, seed=self.seed, sampling=sampling,
        )  # fmt: skip

    def _score(
        self,
        table: ScoreTable,
        name: str,
        indices: Tensor,
        images: Tensor,
        clean: Tensor,
        corrupted: Tensor,
        operator: Any,
    ) -> None:
        mask: Tensor | None = getattr(operator, "mask", None)
        hidden = None if mask is None else mask.cpu().expand(len(clean), -1, -1, -1)
        further = {"consistency": consistency(images, corrupted, operator).cpu()}
        if self.lpips:
            further["lpips"] = self.lpips(images, clean)
        table.add(name, indices, images.cpu(), clean, hidden, further)
