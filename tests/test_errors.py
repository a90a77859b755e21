"""A mistake ends the command in its first seconds, with one line that helps and exit code 1."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

import train
from callbacks.checkpoints import read_checkpoint
from tests.command import TINY, run
from tests.compose import job, refused


def fails(script: str, *arguments: str, cwd: Path, **extra: str) -> str:
    """Run a command that must fail; give its one line of error."""
    result = run(script, *arguments, cwd=cwd, ok=False, **extra)
    assert result.returncode == 1, result.stdout + result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, result.stderr
    assert "Traceback" not in result.stderr
    return errors[0]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, to be copied before it is spoilt."""
    place = tmp_path_factory.mktemp("finished")
    here = f"paths.runs={place}", f"paths.cache={place / 'cache'}"
    train.train(job(*TINY, *here, "name=run", "budget.steps=8"))
    return place / "run"


@pytest.fixture
def spoilt(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_unknown_method_names_the_nearest(tmp_path: Path) -> None:
    line = fails("train.py", "method=dppm", cwd=tmp_path)
    assert "dppm" in line
    assert "ddpm" in line


def test_misspelt_key_in_an_experiment_file_names_the_nearest(tmp_path: Path) -> None:
    folder = tmp_path / "more" / "experiment"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("# @package _global_\nmethod:\n  network:\n    chanels: 32\n")
    line = fails("train.py", f"--config-dir={tmp_path / 'more'}", "experiment=mine", cwd=tmp_path)
    assert "method.network.chanels" in line
    assert "'channels'" in line


def test_indivisible_batch_is_refused_before_training(tmp_path: Path) -> None:
    line = refused(
        "train.py", *TINY, f"paths.runs={tmp_path}", "data.batch_size=9", "trainer=ddp_cpu",
        "trainer.devices=2",
    )  # fmt: skip
    assert "9" in line
    assert "2 processes" in line


def test_missing_data_lists_what_to_do(tmp_path: Path) -> None:
    line = refused(
        "train.py", "data=image_folder", "data.folder=nowhere", "data.num_classes=0",
        f"paths.runs={tmp_path}",
    )  # fmt: skip
    assert "nowhere" in line


def test_truncated_checkpoint_is_named(spoilt: Path) -> None:
    last = spoilt / "checkpoints" / "last.ckpt"
    os.truncate(last, last.stat().st_size // 2)
    line = refused("train.py", f"resume={spoilt}")
    assert "last.ckpt" in line
    assert "truncated" in line


class Payload:
    """Unpickles into a file on disk, if anything ever unpickles it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("script", ["train.py", "sample.py", "evaluate.py"])
def test_pickle_payload_is_refused_and_not_executed(spoilt: Path, script: str) -> None:
    trap = spoilt.parent / "executed"
    for name in ("last", "best"):
        path = spoilt / "checkpoints" / f"{name}.ckpt"
        content = read_checkpoint(spoilt / "checkpoints" / "last.ckpt") if name == "last" else {}
        torch.save({**content, "payload": Payload(trap)}, path)
    argument = f"resume={spoilt}" if script == "train.py" else f"run={spoilt}"
    line = refused(script, argument)
    assert "refused" in line
    assert not trap.exists()


@pytest.mark.parametrize("target", ["os.system", "torch.load", "datamodules.base.torch.load"])
@pytest.mark.parametrize("script", ["train.py", "sample.py"])
def test_dangerous_target_in_a_run_folder_is_refused(
    spoilt: Path, script: str, target: str
) -> None:
    config = OmegaConf.load(spoilt / "config.yaml")
    config.method.network = {"_target_": target, "command": "touch executed", "f": "executed"}
    OmegaConf.save(config, spoilt / "config.yaml")
    argument = f"resume={spoilt}" if script == "train.py" else f"run={spoilt}"
    line = refused(script, argument)
    assert target in line
    assert "refused" in line
    assert not (spoilt.parent / "executed").exists()


def test_resume_with_changed_settings_lists_the_differences(spoilt: Path) -> None:
    line = refused(
        "train.py", f"resume={spoilt}", "method.warmup_steps=7", "data.batch_size=4", "seed=3"
    )
    assert "method.warmup_steps: 100 -> 7" in line
    assert "data.batch_size" in line
    assert "seed: 0 -> 3" in line


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for script, argument in (("train.py", "resume"), ("sample.py", "run"), ("evaluate.py", "run")):
        assert "no run folder" in refused(script, f"{argument}={tmp_path / 'empty'}")


def test_unwritable_runs_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    line = refused("train.py", *TINY, f"paths.runs={tmp_path / 'file' / 'runs'}")
    assert "file/runs" in line
    assert "paths.runs" in line


def mounted(folder: Path, *options: str) -> bool:
    """Mount a file system of a megabyte or so at ``folder``; False where this process may not."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", *options, "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True).returncode == 0


def test_read_only_run_folder_is_refused_at_once(finished: Path, tmp_path: Path) -> None:
    place = tmp_path / "disk"
    if not mounted(place):
        pytest.skip("needs the right to mount")
    try:
        shutil.copytree(finished, place / "run")
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        assert "cannot be written" in refused("train.py", f"resume={place / 'run'}")
    finally:
        subprocess.run(["umount", str(place)], check=False)


def test_full_disk_keeps_the_old_checkpoint(finished: Path, tmp_path: Path) -> None:
    place = tmp_path / "disk"
    size = sum(f.stat().st_size for f in finished.rglob("*") if f.is_file())
    if not mounted(place, "-o", f"size={size + 65536}"):
        pytest.skip("needs the right to mount")
    try:
        shutil.copytree(finished, place / "run")
        before = (place / "run" / "checkpoints" / "last.ckpt").read_bytes()
        line = refused("train.py", f"resume={place / 'run'}", "budget.steps=16")
        assert "last.ckpt" in line or "best.ckpt" in line
        assert "earlier one is intact" in line
        assert (place / "run" / "checkpoints" / "last.ckpt").read_bytes() == before
        assert not list(place.rglob("*.partial"))
    finally:
        subprocess.run(["umount", str(place)], check=False)
