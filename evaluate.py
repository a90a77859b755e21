"""Scores under a stated protocol: ``python evaluate.py run=RUN``, or of two folders of images."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from omegaconf import DictConfig, OmegaConf

import command_line
from config import ConfigError, nearest

if TYPE_CHECKING:
    from callbacks.metric_group import MetricGroup
    from datamodules.base import ImageDataModule
    from evaluate_folders import Reference
    from metrics.extractors import FeatureExtractor
    from metrics.protocol import ProtocolRecord
    from use_run import RunInUse


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
def main(cfg: DictConfig) -> None:
    """Compose, then evaluate."""
    with command_line.clear_errors():
        evaluate(cfg)


def evaluate(cfg: DictConfig) -> list[dict[str, Any]]:
    """Score a run, write ``evaluation.json`` in its folder, print tables; give the new entries."""
    import use_run

    if cfg.images or (cfg.reference and OmegaConf.is_missing(cfg, "run")):
        return evaluate_folder(cfg)
    run = use_run.open_run(cfg)
    path = run.folder / "evaluation.json"
    check_writable(path)
    started = time.perf_counter()
    group = build_group(run)
    entries = evaluate_group(run, group) if group else [evaluate_images(run)]
    seconds = round(time.perf_counter() - started, 2)
    if run.fabric.is_global_zero:
        for entry in entries:
            add_entry(path, {**entry, "seconds": seconds})
            if group is None or not group.tells_all:
                print_table(entry)
        if entries:
            print(f"\nwrote {path}")
    return entries


def evaluate_folder(cfg: DictConfig) -> list[dict[str, Any]]:
    """As :func:`evaluate`, of a folder of images beside another; its results lie in the former."""
    import evaluate_folders

    path = Path(cfg.images or cfg.reference).expanduser() / "evaluation.json"
    if cfg.images and path.parent.is_dir():
        check_writable(path)
    reference, entry, fabric = evaluate_folders.score_folder(cfg)
    if fabric.is_global_zero:
        write_reference(cfg.statistics, reference)
        if entry:
            add_entry(path, entry)
            print_table(entry)
            print(f"\nwrote {path}")
    return [entry] if entry else []


def write_reference(place: str | None, reference: Reference) -> None:
    """Write mean and covariance of the reference to ``place``, where one was named."""
    from metrics.statistics_file import write_statistics

    if place:
        write_statistics(Path(place).expanduser(), reference.statistics)
        print(f"wrote {place}")


def build_group(run: RunInUse) -> MetricGroup | None:
    """Give the group of metrics asked for by name, where it is not of generated images.

    Raises:
        ConfigError: for an unknown name, a group that the method has not, or one among others.
    """
    import experiment
    from metrics.generation import METRICS
    from schema_check import check_tree

    asked, groups = run.asked, run.asked["groups"]
    names = asked["metrics"] if isinstance(asked["metrics"], list) else [asked["metrics"]]
    asked["metrics"] = names
    for name in names:
        if name not in (*METRICS, *groups):
            raise ConfigError(f"unknown metric {name!r}{nearest(name, (*METRICS, *groups))}")
    found = [name for name in names if name in groups]
    if not found:
        return None
    if asked["reference"] or asked["statistics"]:
        raise ConfigError(f"metrics={found[0]} takes no reference= or statistics=; leave it out")
    if len(names) > 1:
        raise ConfigError(f"{found[0]} is a group of metrics; ask for it alone: metrics={found[0]}")
    check_tree(groups[found[0]], f"groups.{found[0]}")
    group: MetricGroup = experiment.make(groups[found[0]])
    if group.capability not in run.module.capabilities:
        raise ConfigError(
            f"metrics={found[0]}: {type(run.module).__name__} has no {group.capability}; "
            "choose another method, or other metrics"
        )
    group.check(run)
    return group


def evaluate_group(run: RunInUse, group: MetricGroup) -> list[dict[str, Any]]:
    """Measure a group, write its tables and plots into the run folder; give its entries."""
    from comparison.charts import write_report

    report = group.measure(run, open_data(run))
    if run.fabric.is_global_zero:
        for written in write_report(report, run.folder, run.asked["metrics"][0]):
            print(f"wrote {written}")
        if report.text:
            print(report.text)
    return [
        {**place(run, finding.protocol), **finding.details, "scores": finding.scores}
        for finding in report.findings
    ]


def evaluate_images(run: RunInUse) -> dict[str, Any]:
    """Generate images and give the entry of their scores."""
    from callbacks.metric_group import run_extractor

    check_images(run)
    extractor = run_extractor(run)
    check_request(run, extractor)
    reference = build_reference(run, extractor)
    if run.fabric.is_global_zero:
        write_reference(run.asked["statistics"], reference)
    scores = score(run, extractor, reference)
    return {**describe(run, extractor, reference), "scores": scores}


def check_writable(path: Path) -> None:
    """Refuse, before the work, a folder that cannot keep its result or a damaged file there."""
    if not os.access(path.parent, os.W_OK):
        raise ConfigError(f"cannot write to {path.parent}; copy the run to a place that can")
    try:
        read_entries(path)
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is damaged ({error}); move it away") from error


def read_entries(path: Path) -> list[dict[str, Any]]:
    """Give the evaluations that ``path`` holds; none where there is no such file."""
    entries = json.loads(path.read_text())["evaluations"] if path.exists() else []
    return [dict(entry) for entry in entries]


def check_images(run: RunInUse) -> None:
    """Refuse, before anything is loaded, a run that makes no images from noise."""
    if "sample" not in run.module.capabilities:
        raise ConfigError(run.module.lacking("sample"))
    if run.content != "images":
        raise ConfigError(
            f"FID and its kin are of images; the data of {run.folder} are {run.content}, and its "
            "run.json has their scores"
        )


def check_request(run: RunInUse, extractor: FeatureExtractor) -> None:
    """Refuse, before the work, metrics that cannot be had of so many images, and no reference."""
    from evaluate_folders import check_reference
    from metrics.generation import check_request

    if run.asked["reference"] not in (None, "train", "test"):
        check_reference(run.asked["reference"])
    check_request(run.asked["metrics"], extractor, run.asked["n"])


def build_reference(run: RunInUse, extractor: FeatureExtractor) -> Reference:
    """Give statistics of ``reference=``: a split of the run's data, a folder, or a file."""
    from callbacks.tracker import split_reference
    from evaluate_folders import Reference, named_reference

    named = run.asked["reference"] or "train"
    if named not in ("train", "test"):
        return named_reference(run.asked, extractor, whole=False)
    data, cache = open_data(run), run.asked["paths"]["cache"]
    split = "reference" if named == "train" else named
    return Reference(split_reference(extractor, data, cache, split), data.name, named)


def open_data(run: RunInUse) -> ImageDataModule:
    """Give the data that the run was trained on, there and checked on every process."""
    import experiment

    data = experiment.build_data(run.config)
    if run.fabric.is_global_zero:
        data.prepare_data()
    run.fabric.barrier()
    data.setup("test")
    return data


def score(run: RunInUse, extractor: FeatureExtractor, reference: Reference) -> dict[str, float]:
    """Generate ``n`` images over all processes and give their scores by metric key."""
    from tqdm import tqdm

    from lightning_modules.generation import generate
    from metrics.generation import GenerationMetrics
    from metrics.protocol import metric_key

    asked, (rank, world_size) = run.asked, run.share
    statistics, metrics = reference.statistics, asked["metrics"]
    scorer = GenerationMetrics(extractor, metrics, reference=statistics, seed=asked["seed"])
    chunks = generate(run.module, asked["n"], asked["seed"], rank, world_size)
    for chunk in tqdm(chunks, desc="sampling", disable=rank > 0 or None):
        scorer.update(chunk.images, chunk.indices)
    return {
        metric_key("gen", name, extractor.name, asked["n"]): value
        for name, value in scorer.compute().items()
    }


def describe(run: RunInUse, extractor: FeatureExtractor, reference: Reference) -> dict[str, Any]:
    """Give what the scores stand on: weights, how far trained, and the protocol with its id."""
    from callbacks.tracker import protocol

    asked = run.asked
    record = protocol(
        extractor,
        reference.statistics,
        dataset=reference.dataset,
        split=reference.split,
        n=asked["n"],
        weights=asked["weights"],
        precision=str(run.config["trainer"]["precision"]),
        seed=asked["seed"],
        sampling=run.module.sampling_record(),
    )
    return place(run, record)


def place(run: RunInUse, record: ProtocolRecord) -> dict[str, Any]:
    """Give what an entry begins with: the protocol, and the checkpoint that was measured."""
    import run_folder

    asked = run.asked
    return {
        "protocol_id": record.id,
        "protocol": record.as_dict(),
        "checkpoint": run_folder.checkpoint_name(run.folder, asked["checkpoint"]),
        "images_seen": run.module.images_seen,
    }


def add_entry(path: Path, entry: dict[str, Any]) -> None:
    """Put ``entry`` in the file, in place of one with the same protocol and checkpoint."""
    from callbacks.run_record import write_json

    same = ("protocol_id", "checkpoint", "images_seen")
    others = [e for e in read_entries(path) if any(e[key] != entry[key] for key in same)]
    write_json(path, {"evaluations": [*others, entry]})


def print_table(entry: dict[str, Any]) -> None:
    """Print the scores, and the protocol they are valid under."""
    record = entry["protocol"]
    if record["sampler"] == "files":
        print(f"\n{record['n_generated']:,} images beside {record['reference_n']:,}\n")
    else:
        print(f"\n{entry['checkpoint']} checkpoint, {record['weights']} weights, ", end="")
        print(f"{entry['images_seen']:,} images seen\n")
    told = {k: v for k, v in entry.items() if isinstance(v, float) and k != "seconds"}
    for key, value in {**entry["scores"], **told}.items():
        print(f"  {key:<38} {value:10.4f}")
    print(f"\nprotocol {entry['protocol_id']}")
    for key, value in record.items():
        shown = value[:16] + "..." if isinstance(value, str) and len(value) == 64 else value
        print(f"  {key:<20} {shown}")


if __name__ == "__main__":
    command_line.run(main)
