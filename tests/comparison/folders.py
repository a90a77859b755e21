"""Run folders as training leaves them, made without training."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from metrics.protocol import ProtocolRecord

RECORD = ProtocolRecord(
    extractor="fmnist_cnn",
    extractor_sha256="ab" * 32,
    resize="28 bilinear, luma",
    antialias=True,
    reference_dataset="fashion_mnist",
    reference_split="train",
    reference_n=10_000,
    reference_sha256="cd" * 32,
    n_generated=10_000,
    sampler="generator",
    spacing=None,
    nfe=1,
    eta=None,
    guidance=None,
    weights="ema",
    precision="32-true",
    seed=0,
)
FID, WHILE_TRAINING = "gen/fid/fmnist_cnn@10k", "gen/fid/fmnist_cnn@2k"


def final(fid: float, record: ProtocolRecord = RECORD, **others: float) -> dict[str, Any]:
    """What ``run.json`` holds of the scores of the end: FID, and others by key."""
    scores = {FID: fid, **{f"gen/{name}/fmnist_cnn@10k": v for name, v in others.items()}}
    return {
        "final": scores,
        "protocols": {record.id: record.as_dict()},
        "protocol_of": {"test": dict.fromkeys(scores, record.id)},
    }


def run_folder(
    folder: Path,
    method: str = "GAN",
    *,
    seed: int = 0,
    data: str = "FashionMNISTMini",
    settings: dict[str, Any] | None = None,
    pictures: int = 0,
    **record: Any,
) -> Path:
    """Make a run folder of a finished run; ``record`` goes to ``run.json``."""
    folder.mkdir(parents=True)
    config = {
        "seed": seed,
        "name": folder.name,
        "data": {
            "_target_": f"datamodules.x.{data}",
            "channels": 1,
            "image_size": 28,
            "seed": seed,
        },
        "method": {"_target_": f"lightning_modules.x.{method}", **(settings or {})},
        "budget": {"images": 90_000},
        "callbacks": {"ema": {"decay": 0.998}},
        "paths": {"runs": str(folder.parent)},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    content = {
        "name": folder.name, "status": "finished", "method": method, "data": data, "seed": seed,
        "precision": "32-true", "parameters": 736_450, "images_seen": 90_048, "processes": 1,
        "device": "cpu", "wall_clock_seconds": 240.0, "images_per_second": 377.0,
        "forward_gflop_per_image": 0.02, **record,
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(content))
    for number in range(1, pictures + 1):
        (folder / "samples").mkdir(exist_ok=True)
        picture = Image.new("L", (40, 40), 40 * number)
        picture.save(folder / "samples" / f"samples_{30_000 * number:09d}.png")
    return folder


def tracked(folder: Path, values: list[float], record: ProtocolRecord = RECORD) -> Path:
    """Add to a run folder what validations measured on the way."""
    record = replace(record, n_generated=2_000)
    rows = [
        {"images_seen": 30_000 * i, "seconds": 80.0 * i, "time": 0.0, WHILE_TRAINING: value}
        for i, value in enumerate(values, start=1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    content = json.loads((folder / "run.json").read_text())
    content["protocols"] = {**content.get("protocols", {}), record.id: record.as_dict()}
    stages = content.get("protocol_of", {})
    content["protocol_of"] = {**stages, "validation": {WHILE_TRAINING: record.id}}
    content["best"] = {WHILE_TRAINING: min(values)}
    (folder / "run.json").write_text(json.dumps(content))
    return folder


def evaluated(folder: Path, checkpoint: str, record: ProtocolRecord, fid: float) -> Path:
    """Add to a run folder an evaluation of ``evaluate.py``."""
    path = folder / "evaluation.json"
    entries = json.loads(path.read_text())["evaluations"] if path.exists() else []
    entry = {
        "protocol_id": record.id, "protocol": record.as_dict(), "checkpoint": checkpoint,
        "images_seen": 90_048, "scores": {FID: fid},
    }  # fmt: skip
    path.write_text(json.dumps({"evaluations": [*entries, entry]}))
    return folder
