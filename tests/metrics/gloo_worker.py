"""One process of a gloo job: ``python gloo_worker.py RANK WORLD_SIZE FOLDER``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch import distributed

from metrics.fid import FrechetDistance
from metrics.generation import METRICS, GenerationMetrics
from metrics.reference import reference_statistics
from tests.metrics.stand_ins import Projection, draw

N_REAL, N_FAKE = 600, 301
CASES = ("shares", "empty rank", "repeated image")


def values(rank: int, world_size: int, folder: Path, case: str) -> dict[str, float]:
    """Give every metric of the same images, whose shares go to ``world_size`` processes."""
    extractor = Projection()
    real = draw(N_REAL, 1).split(100) if rank == 0 else []
    reference = reference_statistics(extractor, real, "data", folder / "cache")
    metrics = GenerationMetrics(extractor, METRICS, reference=reference)
    fid = FrechetDistance(extractor)
    fid.set_reference(reference)
    images = draw(N_FAKE, 2, spread=200)
    share = torch.arange(rank, N_FAKE, world_size)
    if case == "empty rank":
        share = torch.arange(N_FAKE) if rank == 0 else share[:0]
    if case == "repeated image":
        share = torch.arange(N_FAKE)
    for indices in share.split(50):
        if len(indices):
            metrics.update(images[indices], indices)
            fid.update(images[indices], real=False)
    computed = metrics.compute()
    if case == "shares":
        computed["torchmetrics_fid"] = float(fid.compute())
    return computed


def main(rank: int, world_size: int, folder: Path) -> None:
    """Join the job and write this rank's values, or its error, for every case."""
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world_size
    )
    outcome: dict[str, object] = {}
    for case in CASES:
        try:
            outcome[case] = values(rank, world_size, folder, case)
        except ValueError as error:
            outcome[case] = str(error)
    (folder / f"{rank}.json").write_text(json.dumps(outcome))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
