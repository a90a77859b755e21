"""The swiss roll from the command line: trained, scored below a stated level, drawn again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.points import SwissRoll
from functional.energy_distance import energy_distance
from sample import sample
from tests.command import run
from tests.compose import composed, refused, trained

LEVEL = 0.001
"""Energy distance of 4,000 points from as many held-out ones; a Gaussian of the roll's mean and
covariance is at 0.0086, points of the roll itself at 0.0000 +- 0.0002."""

QUIET = ["logger=none", "trainer.accelerator=cpu", "trainer.precision=32-true", "paths.runs=."]


def held_out() -> torch.Tensor:
    return SwissRoll(
        batch_size=8, channels=2, image_size=1, num_classes=0, seed=0, size=8,
        validation_size=8, test_size=4000, noise=0.03,
    ).points("test")  # fmt: skip


@pytest.mark.slow
def test_the_reverse_process_restores_the_roll(tmp_path: Path) -> None:
    run("train.py", "experiment=quick/swiss_roll", "name=roll", *QUIET, cwd=tmp_path)
    final = json.loads((tmp_path / "roll" / "run.json").read_text())["final"]
    assert final["gen/energy/points@4k"] < LEVEL
    assert final["gen/off/points@4k"] < 1.5 * final["gen/off-heldout/points@4k"]
    assert list((tmp_path / "roll" / "samples").glob("process_*.gif"))
    # The same model by another sampler, from the command line.
    fast = ["sampling.sampler=dpm_solver_pp", "sampling.steps=25", "sampling.spacing=karras"]
    run("sample.py", "run=roll", "n=4000", "output=a.npz", *fast, cwd=tmp_path)
    points = torch.from_numpy(np.load(tmp_path / "a.npz")["points"])
    assert points.shape == (4000, 2) and points.dtype == torch.float32
    assert energy_distance(points, held_out()) < 2 * LEVEL


def test_points_are_sampled_as_floats_and_not_scored_as_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = ["budget.images=512", "data.size=600", "data.test_size=50", "data.validation_size=50"]
    small = ["method.network.width=8", "method.sampling.steps=5", "callbacks=none"]
    trained(tmp_path, "experiment=quick/swiss_roll", "name=roll", *QUIET, *short, *small)
    monkeypatch.chdir(tmp_path)
    use = ["run=roll", "n=30", "trainer=cpu"]
    sample(composed(*use, "output=a.npz", name="sample"))
    points = np.load(tmp_path / "a.npz")["points"]
    assert points.shape == (30, 2) and len(np.unique(points, axis=0)) > 20
    assert (tmp_path / "a_scatter.png").exists()
    assert "points are written to a file" in refused("sample.py", *use, "output=b/")
    assert "the data of roll are points" in refused("evaluate.py", *use)
