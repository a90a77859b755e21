"""Do samples look like the label that was asked for, and at what price in FID."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from tqdm import tqdm

from callbacks.metric_group import (
    Chart,
    Finding,
    MetricGroup,
    Report,
    UsedRun,
    combinations,
    run_extractor,
    samples_protocol,
    told,
)
from callbacks.tracker import training_reference
from lightning_modules.base import ImageModule
from lightning_modules.generation import Chunk, generate
from metrics.extractors import FeatureExtractor
from metrics.gather import gather_rows
from metrics.generation import GenerationMetrics
from metrics.protocol import metric_key
from metrics.reference import ReferenceStatistics


class ClassAccuracy(MetricGroup):
    """Accuracy of the feature network's classes on samples of each label, and their FID.

    ``gen/class_accuracy`` is the share of ``n`` samples, as many of each label, that the feature
    network takes for what was asked for; ``gen/class_fid`` their FID, of labels in equal shares.

    Args:
        sampling: the values to try of settings of the method's sampling, such as guidance.
    """

    capability = "sample"

    def __init__(self, sampling: Mapping[str, Sequence[Any]]) -> None:
        self.sampling = {key: list(values) for key, values in sampling.items() if values}

    def check(self, run: UsedRun) -> None:
        classes = int(getattr(run.module, "num_classes", 0))
        if not classes:
            raise ValueError(
                f"{run.folder} was trained without labels; train experiment=quick/ddpm_conditional"
            )
        if run.asked["n"] < 2 * classes or run.asked["n"] % classes:
            raise ValueError(f"n={run.asked['n']} is not two or more of each of {classes} labels")
        for chosen in combinations(self.sampling):
            run.variant(chosen, run.asked["weights"])
        extractor = run_extractor(run)
        if extractor.num_classes != classes:
            raise ValueError(
                f"the run has {classes} labels, the feature network {extractor.name} knows "
                f"{extractor.num_classes or 'none'}; give extractor= of the same classes"
            )

    def measure(self, run: UsedRun, data: Any) -> Report:
        extractor = run_extractor(run)
        reference = training_reference(extractor, data, run.asked["paths"]["cache"])
        cases = list(combinations(self.sampling))
        report = Report()
        for chosen in tqdm(cases, desc="settings", disable=run.share[0] > 0 or None):
            module = run.variant(chosen, run.asked["weights"])
            scores = _scores(run, module, extractor, reference)
            record = samples_protocol(
                run, module, run.asked["weights"], extractor, reference, data.name
            )
            report.rows.append({**chosen, **scores, "protocol": record.id})
            keys = {
                metric_key("gen", name, extractor.name, run.asked["n"]): value
                for name, value in scores.items()
            }
            report.findings.append(Finding(keys, record))
        report.charts = self._charts(report.rows, f"{run.folder.name}, {run.asked['n']:,} samples")
        return report

    def _charts(self, rows: list[dict[str, Any]], title: str) -> dict[str, Chart]:
        """Draw both scores against the first setting that was tried, where it is a number."""
        axis = next(iter(self.sampling), "")
        if len(rows) < 2 or not all(isinstance(row[axis], (int, float)) for row in rows):
            return {}
        charts = {}
        for score, words in (("class_accuracy", "accuracy"), ("class_fid", "FID")):
            lines: dict[str, list[tuple[float, float]]] = {}
            for row in rows:
                label = told(row, self.sampling, without=axis)
                lines.setdefault(label, []).append((float(row[axis]), float(row[score])))
            charts[f"{score}_by_{axis}"] = Chart(title, axis, words, lines)
        return charts


def _scores(
    run: UsedRun,
    module: ImageModule,
    extractor: FeatureExtractor,
    reference: ReferenceStatistics,
) -> dict[str, float]:
    scorer = GenerationMetrics(extractor, ["fid"], reference=reference, seed=run.asked["seed"])
    right = []
    for label, chunk in _of_every_label(run, module):
        scorer.update(chunk.images, chunk.indices)
        logits = extractor(chunk.images).logits
        assert logits is not None
        right.append((logits.argmax(dim=1) == label).float().cpu())
    # Rank 0 alone has all of them, and alone writes.
    accuracy = float(gather_rows(right, (), torch.float32).mean())
    return {"class_accuracy": accuracy, "class_fid": scorer.compute()["fid"]}


def _of_every_label(run: UsedRun, module: ImageModule) -> Iterator[tuple[int, Chunk]]:
    """Yield label and chunk of this process's share; samples of different labels differ in seed."""
    classes = int(module.num_classes)  # type: ignore[arg-type]
    each, seed = run.asked["n"] // classes, run.asked["seed"]
    for label in range(classes):
        for chunk in generate(module, each, seed * classes + label, *run.share, label=label):
            yield label, Chunk(label * each + chunk.indices, chunk.images)
