"""Table 2 of Nichol & Dhariwal (2021): every row of the sweep, and the one beside it, builds."""

from __future__ import annotations

from typing import Any

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

import experiment
from tests.compose import checked, composed

PAPER = "experiment=paper/iddpm_cifar10"
# T, schedule, loss and variance
ROWS = [
    (1000, "linear", "simple", "fixed_large"),
    (4000, "linear", "simple", "fixed_large"),
    (4000, "linear", "hybrid", "learnt"),
    (4000, "cosine", "simple", "fixed_large"),
    (4000, "cosine", "hybrid", "learnt"),
    (4000, "cosine", "bound", "learnt"),
]


def jobs() -> list[list[str]]:
    config = composed(PAPER, "+sweep=iddpm_cifar10", return_hydra_config=True)
    given = [f"{key}={value}" for key, value in config.hydra.sweeper.params.items()]
    parsed = OverridesParser.create().parse_overrides(given)
    made = [job for batch in BasicSweeper.split_arguments(parsed, None) for job in batch]
    dropped = [f"~method.times.{key}" for key in ("distribution", "mean", "std")]
    importance = "method.times._target_=functional.importance_times.ImportanceTimes"
    bound = ["method.objective.loss=bound", *dropped, importance, "+method.times.bins=4000"]
    return [*made, bound]


@pytest.mark.parametrize(("job", "row"), list(zip(jobs(), ROWS, strict=True)))
def test_every_row_is_the_model_that_it_says(job: list[str], row: tuple[Any, ...]) -> None:
    narrow = ["method.network.channels=32", "method.network.blocks=1"]
    config = checked(PAPER, *job, *narrow)
    module: Any = experiment.build_module(config)
    method = config["method"]
    told = method["schedule"]["steps"], method["schedule"]["schedule"]
    assert (*told, method["objective"]["loss"], method["objective"]["variance"]) == row
    assert module.sampling.record()["nfe"] == row[0]
    # Rescaled, every schedule leaves as little of the image at its end.
    assert module.schedule.alpha_bar[-1] < 1e-4
