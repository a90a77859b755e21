"""What ``evaluate.py`` measures that no run here made: folders of images, statistics files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning import Fabric
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

import use_run
from callbacks.tracker import protocol
from config import ConfigError
from datamodules.plain_folder import PlainFolder, open_plain_folder
from metrics.draws import FidelityDraws
from metrics.extractors import FeatureExtractor, build_extractor
from metrics.generation import GenerationMetrics, check_request
from metrics.protocol import metric_key
from metrics.reference import ReferenceStatistics, reference_statistics
from metrics.remembered import Remembered
from metrics.statistics_file import read_statistics


class Reference(NamedTuple):
    """What images are compared with, and the names it has in a protocol."""

    statistics: ReferenceStatistics
    dataset: str
    split: str


def score_folder(cfg: DictConfig) -> tuple[Reference, dict[str, Any] | None, Fabric]:
    """Give the reference, and the entry of the scores of ``cfg.images``, None where none are named.

    Images are measured as they are, with the draws of torch-fidelity. Features are kept in the
    cache batch by batch, so a call that was killed goes on where it was.
    """
    asked, images = read_request(cfg)
    fabric = use_run.launch(asked["trainer"])
    extractor = build(asked, fabric.device)
    started = time.perf_counter()
    if images is not None:
        check_request(asked["metrics"], extractor, len(images))
    reference = named_reference(asked, extractor, whole=True)
    if images is None:
        return reference, None, fabric
    scores = score(asked, images, reference.statistics, extractor, fabric)
    entry = {**describe(asked, images, extractor, reference), "scores": scores}
    return reference, {**entry, "seconds": round(time.perf_counter() - started, 2)}, fabric


def read_request(cfg: DictConfig) -> tuple[dict[str, Any], PlainFolder | None]:
    """Give what is asked for as plain values, and the images that are scored."""
    if not cfg.reference or not (cfg.images or cfg.statistics):
        raise ConfigError(
            "images=FOLDER is scored beside reference=FOLDER; without images=, "
            "reference=FOLDER statistics=FILE.npz writes the reference's mean and covariance"
        )
    if not OmegaConf.is_missing(cfg, "run"):
        raise ConfigError("run= and images= are two things to score; give one of them")
    asked: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    for key, least in (("batch_size", 1), ("n", 1), ("seed", 0)):
        if asked[key] is not None and asked[key] < least:
            raise ConfigError(f"{key}={asked[key]}, expected at least {least}")
    if isinstance(asked["metrics"], str):
        asked["metrics"] = [asked["metrics"]]
    check_reference(asked["reference"])
    images = asked["images"]
    return asked, images and open_plain_folder(Path(images).expanduser(), asked["n"])


def build(asked: dict[str, Any], device: torch.device) -> FeatureExtractor:
    """Give the feature network, which remembers what it gave."""
    weights = asked["extractor_weights"], asked["extractor_sha256"]
    network = build_extractor(asked["extractor"] or "inception", *weights, device=device)
    return Remembered(network, Path(asked["paths"]["cache"]) / "features")


def check_reference(place: str) -> None:
    """Refuse at once a place that is neither a folder with images of one size nor an .npz."""
    path = Path(place).expanduser()
    if path.suffix != ".npz":
        open_plain_folder(path)
    elif not path.is_file():
        raise FileNotFoundError(f"there is no statistics file {path}")


def named_reference(asked: dict[str, Any], extractor: FeatureExtractor, whole: bool) -> Reference:
    """Give the statistics of the folder or the file ``reference=``.

    Args:
        asked: reference, batch_size, and the cache's place.
        extractor: the feature network.
        whole: keep the features of all images in their order, instead of random ones in the cache.
    """
    path = Path(asked["reference"]).expanduser()
    if path.suffix == ".npz":
        return Reference(read_statistics(path, extractor), path.stem, "statistics file")
    folder, size = open_plain_folder(path), asked["batch_size"]
    kept: dict[str, Any] = {"subset_size": None} if whole else {}
    statistics = reference_statistics(
        extractor,
        tqdm(folder.batches(size), "reference", -(-len(folder) // size), disable=None),
        folder.fingerprint(),
        None if whole else Path(asked["paths"]["cache"]),
        **kept,
    )
    return Reference(statistics, path.resolve().name, "folder")


def score(
    asked: dict[str, Any],
    images: PlainFolder,
    reference: ReferenceStatistics,
    extractor: FeatureExtractor,
    fabric: Fabric,
) -> dict[str, float]:
    """Give the scores by key; all processes share the images."""
    size, hidden = asked["batch_size"], fabric.global_rank > 0 or None
    scorer = GenerationMetrics(
        extractor, asked["metrics"], reference=reference, seed=asked["seed"], draws=FidelityDraws
    )
    starts = range(0, len(images), size)[fabric.global_rank :: fabric.world_size]
    for start in tqdm(starts, "images", disable=hidden):
        indices = range(start, min(start + size, len(images)))
        scorer.update(images.batch(indices), torch.tensor(indices))
    return {
        metric_key("gen", name, extractor.name, len(images)): value
        for name, value in scorer.compute().items()
    }


def describe(
    asked: dict[str, Any], images: PlainFolder, extractor: FeatureExtractor, reference: Reference
) -> dict[str, Any]:
    """Give what the scores of a folder stand on; nothing is known of what made the images."""
    record = protocol(
        extractor, reference.statistics, dataset=reference.dataset, split=reference.split,
        n=len(images), weights="unknown", precision="unknown", seed=asked["seed"],
        sampling={"sampler": "files", "nfe": 0}, draws="torch-fidelity",
    )  # fmt: skip
    return {
        "protocol_id": record.id,
        "protocol": record.as_dict(),
        "checkpoint": images.fingerprint()[:16],
        "images_seen": 0,
    }
