from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.metrics.gloo_worker import values

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two gloo processes got, by case."""
    folder = tmp_path_factory.mktemp("gloo")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    worker = str(Path(__file__).with_name("gloo_worker.py"))
    jobs = [
        subprocess.Popen(
            [sys.executable, worker, str(rank), "2", str(folder)], cwd=ROOT, env=environment
        )
        for rank in range(2)
    ]
    try:
        assert [job.wait(timeout=120) for job in jobs] == [0, 0]
    finally:
        for job in jobs:
            job.kill()
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("case", ["shares", "empty rank"])
def test_two_processes_give_the_values_of_one(
    ranks: list[dict[str, Any]], tmp_path: Path, case: str
) -> None:
    single = values(0, 1, tmp_path, case)
    assert ranks[0][case] == pytest.approx(single, rel=1e-6)
    assert ranks[1][case] == ranks[0][case]


def test_the_torchmetrics_form_agrees_in_two_processes(ranks: list[dict[str, Any]]) -> None:
    for rank in ranks:
        shares = rank["shares"]
        assert shares["torchmetrics_fid"] == pytest.approx(shares["fid"], rel=1e-6)


def test_an_error_on_rank_zero_reaches_the_rank_that_waits(ranks: list[dict[str, Any]]) -> None:
    assert "more than once" in ranks[0]["repeated image"]
    assert ranks[1]["repeated image"] == ranks[0]["repeated image"]
