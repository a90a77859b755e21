"""Settings that no diffusion model can follow end a command in one line, before anything begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command import TINY
from tests.compose import refused
from tests.run_folders import untrained

CHAIN = (
    "method.schedule._target_=functional.noise_schedule.VariancePreserving",
    "method.prediction=eps",
)
T = "+method.schedule.steps"
UNKNOWN = (
    "unknown sampler 'ddimm'; known: ancestral, ddim, euler, heun, adams_bashforth, dpm_solver_pp, "
    "dpm_solver_pp_sde"
)
WITHOUT_LABELS = "pushes estimates away from those without a label; train with"
NO_VARIANCE = "'learnt' with sampler heun, which has no variance to learn; use sampler=ancestral"
TOO_MANY = "number of sampling steps is 21, expected 1 to 20"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ([f"{T}=0"], "a noise schedule needs at least 1 step, got 0"),
        ([f"{T}=20", "method.sampling.steps=21"], TOO_MANY),
        (["method.sampling.sampler=ddimm"], UNKNOWN),
        (["method.sampling.guidance=2"], WITHOUT_LABELS),
        (["method.sampling.sampler=heun", "method.sampling.variance=learnt"], NO_VARIANCE),
    ],
)
def test_training_is_refused_before_there_is_a_run(
    tmp_path: Path, overrides: list[str], words: str
) -> None:
    runs = tmp_path / "runs"
    line = refused("train.py", *TINY, *CHAIN, f"paths.runs={runs}", *overrides)
    assert words in line
    assert not runs.exists()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose chain has 20 steps, without labels or a learnt variance."""
    return untrained(tmp_path_factory.mktemp("runs") / "run", *CHAIN, f"{T}=20")


@pytest.mark.parametrize(
    ("script", "overrides", "words"),
    [
        ("sample.py", ["sampling.steps=21"], TOO_MANY),
        ("evaluate.py", ["sampling.steps=21"], TOO_MANY),
        ("sample.py", ["sampling.sampler=ddimm"], UNKNOWN),
        ("evaluate.py", ["sampling.guidance=2"], WITHOUT_LABELS),
        ("sample.py", ["sampling.sampler=heun", "sampling.variance=learnt"], NO_VARIANCE),
    ],
)
def test_a_run_is_not_used_in_ways_that_it_cannot_follow(
    run: Path, script: str, overrides: list[str], words: str
) -> None:
    before = sorted(run.rglob("*"))
    assert words in refused(script, f"run={run}", "n=4", f"paths.cache={run / 'cache'}", *overrides)
    assert sorted(run.rglob("*")) == before
