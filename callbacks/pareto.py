"""One checkpoint, the whole front: FID against evaluations and seconds over ways of sampling."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from tqdm import tqdm

from callbacks.kept_rows import KeptRows, Row
from callbacks.metric_group import (
    Chart,
    MetricGroup,
    Point,
    Report,
    UsedRun,
    combinations,
    run_extractor,
    samples_protocol,
    told,
)
from callbacks.tracker import training_reference
from lightning_modules.base import ImageModule
from lightning_modules.generation import generate
from metrics.extractors import FeatureExtractor
from metrics.front import pareto_front
from metrics.generation import GenerationMetrics
from metrics.protocol import ProtocolRecord
from metrics.reference import ReferenceStatistics

COSTS = {"nfe": "evaluations per image", "seconds_per_1000": "seconds per 1,000 images"}


class Pareto(MetricGroup):
    """FID of ``n`` images for every combination of settings of sampling and weights.

    ``pareto.csv`` has a row for each, with its protocol id; ``pareto_<cost>.png`` draws FID against
    evaluations per image, and against seconds per 1,000 images on all processes, feature network
    not counted. What a run cannot do (more steps than its chain has, say) is a row with the reason.
    Rows measured before of the same checkpoint, n, seed and reference are not measured again, and
    those of other settings join the table: a call that was stopped goes on, a further one adds.

    Args:
        sampling: the values to try of each setting of the method's sampling.
        weights: names of averages (see ``callbacks.weights.named_weights``); none for those that
            the command asks for.

    Raises:
        ValueError: for a setting without values.
    """

    capability = "sample"

    def __init__(self, sampling: Mapping[str, Sequence[Any]], weights: Sequence[str]) -> None:
        self.sampling = {key: list(values) for key, values in sampling.items() if values != []}
        if not self.sampling:
            raise ValueError("no settings to try; give groups.pareto.sampling.steps=[5,10,20]")
        self.weights = list(weights)

    def check(self, run: UsedRun) -> None:
        if run.content != "images":
            raise ValueError(f"FID is of images, but the data of {run.folder} are {run.content}")
        for weights in self._weights(run):
            run.variant({}, weights)
        reasons = [
            self._variant(run, chosen, run.asked["weights"])
            for chosen in combinations(self.sampling)
        ]
        if not any(isinstance(reason, ImageModule) for reason in reasons):
            raise ValueError(str(reasons[0]))

    def measure(self, run: UsedRun, data: Any) -> Report:
        extractor = run_extractor(run)
        reference = training_reference(extractor, data, run.asked["paths"]["cache"])
        cases = [(chosen, w) for w in self._weights(run) for chosen in combinations(self.sampling)]
        kept: KeptRows | None = None
        rows: list[Row] = []
        for chosen, weights in tqdm(cases, desc="settings", disable=run.share[0] > 0 or None):
            module = self._variant(run, chosen, weights)
            row: Row = {**chosen, "weights": weights}
            if isinstance(module, str):
                rows.append({**row, "refused": module})
                continue
            record = samples_protocol(run, module, weights, extractor, reference, data.name)
            kept = kept or KeptRows(run.folder / "pareto.json", _basis(run, record))
            row |= {"nfe": record.nfe, "protocol": record.id}
            found = kept.find(row)
            if found is None:
                fid, seconds = _fid(run, module, extractor, reference)
                measured = {"seconds_per_1000": round(seconds, 4), "fid": fid}
                found = kept.add({**row, **measured}, write=run.share[0] == 0)
            rows.append(kept.shown(found))
        others = [kept.shown(row) for row in kept.rows] if kept else []
        rows += [row for row in others if row not in rows]
        title = f"{run.folder.name}: {run.asked['n']:,} images, {extractor.name}"
        return self._report(rows, title)

    def _weights(self, run: UsedRun) -> list[str]:
        return self.weights or [str(run.asked["weights"])]

    def _variant(self, run: UsedRun, chosen: Mapping[str, Any], weights: str) -> ImageModule | str:
        """Give the model with these settings, or why it cannot be had."""
        try:
            return run.variant(chosen, weights)
        except ValueError as error:
            return (str(error).splitlines() or ["refused"])[0]

    def _report(self, rows: list[Row], title: str) -> Report:
        """Mark the rows on the front by evaluations, and draw both charts."""
        measured = [row for row in rows if "fid" in row]
        settings = _settings(measured)
        charts, fronts = {}, {}
        for cost, axis in COSTS.items():
            points = [(float(row[cost]), float(row["fid"])) for row in measured]
            fronts[cost] = pareto_front(points)
            lines: dict[str, list[Point]] = {}
            for row, point in zip(measured, points, strict=True):
                label = told(row, settings, without="steps")
                lines.setdefault(label, []).append(point)
            lines["front *"] = [points[i] for i in fronts[cost]]
            charts[f"pareto_{cost}"] = Chart(title, axis, "FID", lines, log_x=True, log_y=True)
        for i in fronts["nfe"]:
            measured[i]["front"] = "yes"
        text = _table([measured[i] for i in fronts["nfe"]])
        return Report(rows=rows, charts=charts, text=text)


def _basis(run: UsedRun, record: ProtocolRecord) -> Row:
    """Give what the rows of one table have in common."""
    return {
        "measurement": record.measurement_id,
        "precision": record.precision,
        "seed": record.seed,
        "checkpoint": run.asked["checkpoint"],
        "images_seen": run.module.images_seen,
    }


def _settings(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """Give the values that each setting has in the rows, in their order."""
    own = (*COSTS, "fid", "protocol", "front", "refused")
    keys = dict.fromkeys(key for row in rows for key in row if key not in own)
    return {key: list(dict.fromkeys(row.get(key) for row in rows)) for key in keys}


def _fid(
    run: UsedRun,
    module: ImageModule,
    extractor: FeatureExtractor,
    reference: ReferenceStatistics,
) -> tuple[float, float]:
    """Give FID and the seconds that 1,000 images took, on all processes together."""
    n, seed = run.asked["n"], run.asked["seed"]
    scorer = GenerationMetrics(extractor, ["fid"], reference=reference, seed=seed)
    chunks, seconds = generate(module, n, seed, *run.share), 0.0
    with tqdm(total=n, desc="images", leave=False, disable=run.share[0] > 0 or None) as bar:
        while True:
            started = time.perf_counter()
            chunk = next(chunks, None)
            seconds += time.perf_counter() - started
            if chunk is None:
                return scorer.compute()["fid"], 1000 * seconds / n
            scorer.update(chunk.images, chunk.indices)
            bar.update(run.share[1] * len(chunk.indices))


def _table(rows: Sequence[Row]) -> str:
    """Give the rows on the front for a person to read."""
    lines = ["no setting beats these, by evaluations per image:", ""]
    for row in rows:
        shown = {k: v for k, v in row.items() if k not in (*COSTS, "fid", "protocol", "front")}
        lines.append(
            f"  {row['nfe']:5d} NFE  {row['seconds_per_1000']:9.2f} s per 1,000  "
            f"FID {row['fid']:9.3f}  {', '.join(map(str, shown.values()))}"
        )
    return "\n".join(lines)
