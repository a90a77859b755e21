"""Two gloo processes train one diffusion model, under every objective."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tests.ddpm_gloo_worker as worker
from callbacks.checkpoints import read_checkpoint
from tests.lightning_modules.tiny import data, trainer
from tests.lightning_modules.tiny_objectives import IMPORTANT, OBJECTIVES, objective


@pytest.mark.parametrize("name", OBJECTIVES)
def test_ranks_learn_the_same_from_noise_and_times_of_their_own(
    ranks: list[dict[str, Any]], name: str
) -> None:
    one, other = (rank[name] for rank in ranks)
    assert one["learnt"] == other["learnt"]
    assert len(one["drawn"]) == len(other["drawn"]) == 2 * worker.STEPS
    assert len({*one["drawn"], *other["drawn"]}) == 4 * worker.STEPS


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_loss_of_two_processes_is_that_of_one(
    ranks: list[dict[str, Any]], name: str, gloo_folder: Path
) -> None:
    module = objective(name)
    content = read_checkpoint(gloo_folder / name / "checkpoints" / "last.ckpt")
    module.load_state_dict(content["state_dict"])
    alone = trainer(gloo_folder / "alone", [])
    alone.validate(module, datamodule=data(), verbose=False)
    for rank in ranks:
        assert rank[name]["loss"] == pytest.approx(
            float(alone.callback_metrics["val/loss"]), rel=1e-5
        )


def test_important_times_enter_the_losses_of_both(ranks: list[dict[str, Any]]) -> None:
    batch = data().batch_size
    assert ranks[0][IMPORTANT]["entered"] == worker.STEPS * batch
