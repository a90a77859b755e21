"""Two gloo processes pre-train, probe, fine-tune and restore as one does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tests.mae_gloo_worker as worker
from callbacks.checkpoints import read_checkpoint

KEYS = {
    "mae": {"test/loss", "test/masked_psnr", "restore/random-75/psnr-masked"},
    "probe": {"probe/linear/top1@24", "probe/knn-random/top1@24"},
    "finetune": {"probe/finetune/top1@24"},
}


@pytest.mark.parametrize("method", worker.METHODS)
def test_ranks_begin_and_end_with_equal_weights(ranks: list[dict[str, Any]], method: str) -> None:
    one, other = (rank[method] for rank in ranks)
    assert one["before"] == other["before"] != one["after"] == other["after"]
    assert one["validation"] == other["validation"] != {}


def test_masks_of_training_differ_from_rank_to_rank(ranks: list[dict[str, Any]]) -> None:
    one, other = (rank["mae"]["masks"] for rank in ranks)
    assert len(one) == len(other) == 4
    assert len({*one, *other}) == 8


@pytest.mark.parametrize("method", worker.METHODS)
def test_scores_of_two_processes_are_those_of_one(
    ranks: list[dict[str, Any]], gloo_folder: Path, tmp_path: Path, method: str
) -> None:
    last = read_checkpoint(gloo_folder / method / "checkpoints" / "last.ckpt")
    found = worker.alone(method, tmp_path, last["state_dict"])
    one, other = (rank[method]["scores"] for rank in ranks)
    assert KEYS[method] <= found.keys()
    assert one == other == pytest.approx(found, rel=1e-6)
