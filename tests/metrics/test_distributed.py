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


def two_processes(folder: Path, case: str) -> list[dict[str, Any]]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    worker = str(Path(__file__).with_name("gloo_worker.py"))
    jobs = [
        subprocess.Popen(
            [sys.executable, worker, str(rank), "2", str(folder), case], cwd=ROOT, env=environment
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
def test_two_processes_give_the_values_of_one(tmp_path: Path, case: str) -> None:
    single = values(0, 1, tmp_path / "single", case)
    first, second = two_processes(tmp_path, case)
    assert first == pytest.approx(single, rel=1e-6)
    assert second == first
    if case == "shares":
        assert first["torchmetrics_fid"] == pytest.approx(first["fid"], rel=1e-6)


def test_an_error_on_rank_zero_reaches_the_rank_that_waits(tmp_path: Path) -> None:
    first, second = two_processes(tmp_path, "repeated image")
    assert "more than once" in first["error"]
    assert second == first
