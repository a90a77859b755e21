"""A run under any objective, stopped and resumed, ends as one that was not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lightning_modules.tiny_objectives import OBJECTIVES, objective
from tests.resuming import STEPS, assert_resuming_is_exact


@pytest.mark.parametrize("name", OBJECTIVES)
def test_resuming_is_exact_under_every_objective(name: str, tmp_path: Path) -> None:
    rows = assert_resuming_is_exact(lambda: objective(name), tmp_path)
    losses = [row["train/loss"] for row in rows if "train/loss" in row]
    assert len(losses) == len(set(losses)) == STEPS
