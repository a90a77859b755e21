"""Two gloo processes train one GAN, under every loss and penalty, and evaluate one model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tests.gan_gloo_worker as worker
from callbacks.checkpoints import read_checkpoint


@pytest.mark.parametrize("case", worker.CASES)
def test_ranks_end_with_equal_networks_and_drew_different_latents(
    ranks: list[dict[str, Any]], case: str
) -> None:
    one, other = (rank[case] for rank in ranks)
    assert one["before"] == other["before"]
    assert one["after"] == other["after"]
    assert all(one["after"][network] != one["before"][network] for network in ("g", "d"))
    steps_of_g = 4 // worker.CASES[case].get("n_critic", 1)
    parts = worker.CASES[case].get("micro_batches", 1)
    assert len(one["latents"]) == len(other["latents"]) == 4 + parts * steps_of_g
    assert len({*one["latents"], *other["latents"]}) == 2 * len(one["latents"])


def test_the_adaptive_probability_is_one_for_all_ranks(ranks: list[dict[str, Any]]) -> None:
    one, other = (rank["augmentation"]["p"] for rank in ranks)
    assert one == other > 0


def test_batch_norm_of_the_ranks_differs_in_training_and_agrees_in_evaluation(
    ranks: list[dict[str, Any]],
) -> None:
    one, other = (rank["evaluation"] for rank in ranks)
    assert one["training"] != other["training"]
    assert one["averaged"] == other["averaged"] == one["averaged again"] == other["averaged again"]
    assert one["raw"] == other["raw"]


@pytest.mark.parametrize("weights", ["averaged", "raw"])
def test_images_of_two_processes_are_those_of_one_from_the_checkpoint(
    ranks: list[dict[str, Any]], gloo_folder: Path, weights: str
) -> None:
    content = read_checkpoint(gloo_folder / "evaluation" / "checkpoints" / "last.ckpt")
    module = worker.with_batch_norm()
    module.load_state_dict(content["state_dict"])
    if weights == "averaged":
        module.load_state_dict(content["ema"]["weights"], strict=False)
    module.eval()
    chunks = worker.generate(module, worker.N, 3)
    whole = [image for chunk in chunks for image in chunk.images.tolist()]
    one, other = (rank["evaluation"][f"{weights} images"] for rank in ranks)
    assert one.keys() & other.keys() == set()
    shared = {**one, **other}
    assert [shared[str(i)] for i in range(worker.N)] == whole


def test_nearest_neighbours_are_found_once_and_known_to_all(
    ranks: list[dict[str, Any]], gloo_folder: Path
) -> None:
    one, other = (rank["evaluation"]["scores"] for rank in ranks)
    assert one == other
    assert one.keys() == {"gen/nn_distance/pixels@22", "gen/nn_distance-heldout/pixels@16"}
    assert len(list((gloo_folder / "evaluation" / "samples").glob("neighbours_*.png"))) == 1
