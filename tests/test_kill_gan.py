"""kill -9 loses nothing of an adversarial game either: two networks, two optimisers, ADA's p."""

from __future__ import annotations

from pathlib import Path

import pytest

from callbacks.checkpoints import read_checkpoint
from tests.command import TINY_DATA, run
from tests.killing import assert_equal, kill_when, pictures, rows, seen, writing

STEPS = 36
SETTINGS = [
    "method=gan",
    *TINY_DATA,
    "method.loss=non_saturating",
    "method.n_critic=2",
    "method.generator.width=4",
    "method.generator.z_dim=4",
    "method.discriminator.width=4",
    "method.augment='color,translation'",
    "+method.adaptive._target_=functional.augment.AdaptiveProbability",
    "+method.adaptive.target=-0.5",
    "+method.adaptive.images=400",
    "callbacks.generation.n=16",
    "callbacks.generation.n_final=16",
    "callbacks.neighbours.n=16",
    "callbacks.checkpoints.every_n_steps=5",
    "validate_every_images=96",
    "budget.images=null",
    "budget.minutes=null",
    f"budget.steps={STEPS}",
    "trainer.log_every_n_steps=1",
    "trainer.precision=32-true",
    "trainer.accelerator=cpu",
    "logger=none",
    "paths.runs=.",
    "paths.cache=cache",
    "name=run",
]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("whole")
    run("train.py", *SETTINGS, cwd=place)
    return place / "run"


def test_the_run_holds_what_a_resume_must_bring_back(uninterrupted: Path) -> None:
    content = read_checkpoint(uninterrupted / "checkpoints" / "last.ckpt")
    assert any("running_mean" in key for key in content["state_dict"])
    assert len(content["optimizer_states"]) == 2
    assert all(optimizer["state"] for optimizer in content["optimizer_states"])
    assert 0 < content["adaptive"]["p"] < 1
    kinds = {name.rsplit("_", 1)[0] for name in pictures(uninterrupted)}
    assert kinds == {"samples", "interpolation", "neighbours"}
    assert any("gen/fid-raw/fmnist_cnn@16" in row for row in rows(uninterrupted))


def test_a_killed_gan_resumes_to_the_bit(uninterrupted: Path, tmp_path: Path) -> None:
    """Killed between two steps of G, and while a checkpoint is written after a validation."""
    assert kill_when(tmp_path, SETTINGS, lambda: seen(tmp_path, 9))
    resume = ["resume=run"]
    assert kill_when(tmp_path, resume, lambda: seen(tmp_path, 20) and writing(tmp_path))
    run("train.py", *resume, cwd=tmp_path)
    assert_equal(tmp_path / "run", uninterrupted)
    states = [
        read_checkpoint(folder / "checkpoints" / "last.ckpt")
        for folder in (tmp_path / "run", uninterrupted)
    ]
    for key in ("adaptive", "counters"):
        assert states[0][key] == states[1][key]
