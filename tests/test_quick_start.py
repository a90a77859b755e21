"""The quick start, at its real length."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from callbacks.run_record import read_rows
from tests.command import run


@pytest.mark.slow
def test_the_quick_start_learns_to_draw_clothes_within_its_budget(tmp_path: Path) -> None:
    run("train.py", "name=quick", cwd=tmp_path, OMP_NUM_THREADS="2", timeout=1200)
    folder = tmp_path / "runs" / "quick"
    record = json.loads((folder / "run.json").read_text())
    assert record["status"] == "finished"
    fids = [
        row[key]
        for row in read_rows(folder / "metrics.jsonl")
        for key in row
        if key.startswith("gen/fid/fmnist_cnn@2k")
    ]
    assert len(fids) >= 3
    assert fids == sorted(fids, reverse=True)
    assert fids[-1] < 8
