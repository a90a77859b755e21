"""Sweeps that ship: each job composes, changes what it says, builds on fake data and learns."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from PIL import Image

import experiment
from datamodules.base import Batch
from tests.command import run
from tests.compose import checked, composed
from tests.test_experiments import QUIET, made_small

TABLE = "experiment=paper/mae_table1_imagenet"


def jobs(sweep: str) -> list[list[str]]:
    """The command lines that ``python train.py -m +sweep=SWEEP`` makes jobs of."""
    config = composed(TABLE, f"+sweep={sweep}", "paths.data=x", return_hydra_config=True)
    assert str(config.hydra.mode) == "RunMode.MULTIRUN"
    given = [f"{key}={value}" for key, value in config.hydra.sweeper.params.items()]
    parsed = OverridesParser.create().parse_overrides(given)
    return [job for batch in BasicSweeper.split_arguments(parsed, None) for job in batch]


def flat(node: Any, place: str = "") -> dict[str, Any]:
    if not isinstance(node, dict):
        return {place: node}
    return {k: v for key, part in node.items() for k, v in flat(part, f"{place}.{key}").items()}


@cache
def default() -> dict[str, Any]:
    return flat(checked(TABLE, *QUIET, "paths.data=x"))


DEPTH, WIDTH = "method.network.decoder_depth", "method.network.decoder_dim"
# What each job sets otherwise than the experiment.
ROWS: dict[str, list[dict[str, Any]]] = {
    "mae_table1": [
        {},
        *({DEPTH: depth} for depth in (1, 2, 4, 12)),
        *({WIDTH: width} for width in (128, 256, 768, 1024)),
        {"method.network.mask_tokens_in_encoder": True},
        {"method.normalised_targets": True},
        {"method.mask": "block", "method.mask_ratio": 0.5},
        {"method.mask": "block"},
        {"method.mask": "grid"},
        *({"method.mask_ratio": percent / 100} for percent in range(10, 100, 10)),
    ],
    "mae_table1_data": [
        {"data.crop": "center", "data.horizontal_flip": False},
        {"data.crop": "random"},
        {},
    ],
}
CASES = [
    pytest.param(job, row, id=f"{sweep} {number}")
    for sweep, rows in ROWS.items()
    for number, (job, row) in enumerate(zip(jobs(sweep), rows, strict=True))
]


@pytest.mark.parametrize(("job", "row"), CASES)
def test_every_job_changes_what_its_row_says_and_learns_from_fake_data(
    job: list[str], row: dict[str, Any], tmp_path: Path
) -> None:
    config = checked(TABLE, *QUIET, "paths.data=x", *job)
    changed = flat(config)
    assert default().keys() == changed.keys()
    assert {key[1:]: v for key, v in changed.items() if default()[key] != v} == row
    built = experiment.build(made_small(config), tmp_path, "tests")
    batch: Batch = next(iter(built.data.train_dataloader()))
    built.module.training_step(batch, 0).backward()
    gradients = [p.grad for p in built.module.parameters() if p.requires_grad]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


@pytest.mark.slow
def test_a_sweep_runs_from_the_command_line(tmp_path: Path) -> None:
    """The three augmentations, on a folder of images and networks made small."""
    (tmp_path / "images").mkdir()
    for i in range(24):
        Image.linear_gradient("L").rotate(15 * i).resize((40, 30)).save(
            tmp_path / "images" / f"{i}.png"
        )
    small = ["embed_dim=48", "depth=1", "heads=2", "decoder_dim=32", "decoder_depth=1"]
    run(
        "train.py", "-m", "+sweep=mae_table1_data", TABLE,
        "data.folder=images", "data.num_workers=0", "data.image_size=32", "data.batch_size=4",
        *(f"method.network.{setting}" for setting in small),
        "method.network.decoder_heads=2", "budget.images=8", "validate_every_images=8",
        "callbacks.restoration=null", "callbacks.images=null", "logger=none",
        "trainer.accelerator=cpu", "paths.runs=runs", "paths.cache=cache",
        cwd=tmp_path,
    )  # fmt: skip
    records = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/run.json")]
    assert [record["status"] for record in records] == ["finished"] * 3


def test_the_four_methods_make_images_and_are_scored_alike_at_one_budget() -> None:
    line = composed("+sweep=four_methods", return_hydra_config=True).hydra.sweeper.params.experiment
    configs = [checked("+sweep=four_methods", f"experiment={name}") for name in line.split(",")]
    assert len({config["method"]["_target_"] for config in configs}) == 4
    for config in configs:
        assert config["callbacks"]["generation"] == configs[0]["callbacks"]["generation"]
        assert config["budget"] == {"images": None, "steps": None, "minutes": 2}
        assert config["validate_every_images"] == configs[0]["validate_every_images"]
        assert "sample" in experiment.build_module(config).capabilities
