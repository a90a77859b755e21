"""Notebooks: stored without what they printed, and their cells run."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.command import ROOT, TINY_DATA
from tests.comparison.folders import final, run_folder
from tests.run_folders import untrained

nbformat = pytest.importorskip("nbformat")
FILES = sorted((ROOT / "notebooks").glob("*.ipynb"))


def read(name: str) -> Any:
    return nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)


def run_cells(name: str) -> dict[str, Any]:
    """Run the code of a notebook here, without a kernel; give the names it made."""
    names: dict[str, Any] = {"__name__": name}
    path = list(sys.path)
    try:
        for cell in read(name).cells:
            if cell.cell_type == "code":
                exec(compile(cell.source, f"{name} {cell.id}", "exec"), names)
    finally:
        sys.path[:] = path
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_output(path: Path) -> None:
    notebook = read(path.stem)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code and all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert str(ROOT) not in path.read_text()


def test_runs_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, method, fid in (("a", "GAN", 14.0), ("b", "DDPM", 6.0)):
        run_folder(tmp_path / name, method, pictures=1, **final(fid))
    monkeypatch.setenv("ATELIER_RUNS", str(tmp_path))
    names = run_cells("compare_runs")
    assert len(names["board"].runs) == 2 and names["sheet"] is not None
    printed = capsys.readouterr().out
    assert "method._target_: lightning_modules.x.GAN | lightning_modules.x.DDPM" in printed


def test_samples_are_inspected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ATELIER_RUN", str(untrained(tmp_path / "run")))
    monkeypatch.setenv("ATELIER_N", "8")
    names = run_cells("inspect_samples")
    assert names["images"].shape == (8, 1, 8, 8) and names["near"].indices.shape == (8, 3)
    assert "test images" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_kernel_runs_the_whole_notebook(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nbclient = pytest.importorskip("nbclient")
    run = untrained(tmp_path / "run", "data.image_size=16")
    run_folder(tmp_path / "runs" / "made", pictures=1, **final(14.0))
    settings = ["data=fake", *TINY_DATA[3:], "data.image_size=28", "debug=fast", "logger=none"]
    given = {
        "ATELIER_RUNS": str(tmp_path / "runs"), "ATELIER_RUN": str(run), "ATELIER_N": "8",
        "ATELIER_OVERRIDES": " ".join([*settings, f"paths.cache={tmp_path}"]),
        "TMPDIR": str(tmp_path), "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    notebook = read(path.stem)
    where = {"metadata": {"path": str(path.parent)}}
    nbclient.NotebookClient(notebook, timeout=900, kernel_name="python3", resources=where).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert any("image/png" in output.get("data", {}) for output in shown)
    assert not [output for output in shown if output.output_type == "error"]
