"""A fifth method is two new files: those that docs/add_a_method.md prints, and nothing else."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from callbacks.run_record import read_rows
from tests.command import ROOT, TINY_DATA, environment

PARTS = [
    "callbacks",
    "conf",
    "datamodules",
    "functional",
    "lightning_modules",
    "metrics",
    "networks",
]


def copy_of_the_project(place: Path) -> Path:
    for part in PARTS:
        shutil.copytree(ROOT / part, place / part, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ROOT.glob("*.py"):
        shutil.copy(file, place)
    return place


def add_the_documented_files(project: Path) -> None:
    text = (ROOT / "docs" / "add_a_method.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    (settings,) = re.findall(r"```yaml\n(.*?)```", text, re.S)
    (project / "lightning_modules" / "vae.py").write_text(code)
    (project / "conf" / "method" / "vae.yaml").write_text(settings)


def call(project: Path, *commands: list[str]) -> str:
    """Give what the commands print, called one after the other by one process."""
    calls = "import runpy, sys\n" + "".join(
        f"sys.argv = {command}\nrunpy.run_path({command[0]!r}, run_name='__main__')\n"
        for command in commands
    )
    done = subprocess.run(
        [sys.executable, "-c", calls],
        cwd=project, env=environment(), capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_documented_method_trains_samples_and_evaluates(tmp_path: Path) -> None:
    project = copy_of_the_project(tmp_path)
    add_the_documented_files(project)
    settings = [
        "name=vae",
        "logger=none",
        "budget.images=null",
        "budget.steps=300",
        "validate_every_images=1200",
        "callbacks.generation.n=64",
        "callbacks.generation.n_final=64",
        "trainer.accelerator=cpu",
        "paths.cache=cache",
    ]
    table = call(
        project,
        ["train.py", "method=vae", *TINY_DATA, *settings],
        ["sample.py", "run=runs/vae", "n=5", "output=out/images.npz"],
        ["evaluate.py", "run=runs/vae", "n=64", "paths.cache=cache"],
    )
    assert "gen/fid/fmnist_cnn@64" in table
    record = json.loads((project / "runs" / "vae" / "run.json").read_text())
    assert record["status"] == "finished"
    rows = read_rows(project / "runs" / "vae" / "metrics.jsonl")
    losses = [row["val/loss"] for row in rows if "val/loss" in row]
    assert len(losses) == 2
    assert losses[-1] < losses[0]
    assert (project / "out" / "images.npz").exists()
