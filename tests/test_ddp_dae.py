"""Two gloo processes train one DAE, on noise of their own, and score it as one process does.

And one stack, whose few labels they share.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import tests.dae_gloo_worker as worker
from callbacks.checkpoints import read_checkpoint
from tests.lightning_modules.tiny import data, trainer
from tests.lightning_modules.tiny_dae import dae


@pytest.mark.parametrize("case", worker.CASES)
def test_ranks_hold_equal_weights_and_learn_from_noise_of_their_own(
    ranks: list[dict[str, Any]], case: str
) -> None:
    one, other = (rank[case] for rank in ranks)
    assert one["weights"] == other["weights"]
    corruptions = worker.STEPS * (worker.CASES[case].get("walkback", 0) + 1)
    assert len(one["shown"]) == len(other["shown"]) == corruptions
    assert len({*one["shown"], *other["shown"]}) == 2 * corruptions


@pytest.mark.parametrize("case", worker.CASES)
def test_the_scores_of_two_processes_are_those_of_one(
    ranks: list[dict[str, Any]], case: str, gloo_folder: Path
) -> None:
    module = dae(**worker.CASES[case])
    content = read_checkpoint(gloo_folder / case / "checkpoints" / "last.ckpt")
    module.load_state_dict(content["state_dict"])
    alone = trainer(gloo_folder / "alone", [])
    alone.validate(module, datamodule=data(), verbose=False)
    for rank in ranks:
        assert rank[case]["scores"].keys() == {"val/loss", "val/psnr"}
        for key, value in rank[case]["scores"].items():
            assert value == pytest.approx(float(alone.callback_metrics[key]), rel=1e-5), key


def test_the_ranks_of_a_stack_hold_equal_weights_and_share_the_few_labels(
    ranks: list[dict[str, Any]],
) -> None:
    one, other = (rank["stack"] for rank in ranks)
    assert one["weights"] == other["weights"]
    assert len(one["learnt"]) == len(other["learnt"]) == 20
    both = Counter([*one["learnt"], *other["learnt"]])
    assert sorted(both.values()) == [4] * worker.LABELS
