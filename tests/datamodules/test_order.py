from __future__ import annotations

from itertools import chain

import pytest
import torch

from datamodules.order import EvaluationBatchSampler, GlobalBatchSampler


def training(rank: int = 0, world_size: int = 1, **changes: int) -> GlobalBatchSampler:
    settings = {"size": 53, "batch_size": 12, "seed": 7, "flip": True, "crop": True} | changes
    return GlobalBatchSampler(rank=rank, world_size=world_size, **settings)


def order(sampler: GlobalBatchSampler, epoch: int = 0) -> list[list[int]]:
    sampler.set_epoch(epoch)
    return [plan.indices.tolist() for plan in sampler]


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_ranks_together_take_the_same_global_batch_as_one_process(world_size: int) -> None:
    ranks = [training(rank, world_size) for rank in range(world_size)]
    for whole, *parts in zip(training(), *ranks, strict=True):
        assert torch.equal(whole.indices, torch.cat([part.indices for part in parts]))
        assert torch.equal(whole.flip, torch.cat([part.flip for part in parts]))
        assert torch.equal(whole.crop, torch.cat([part.crop for part in parts]))


def test_an_epoch_has_every_image_at_most_once_and_only_whole_batches() -> None:
    batches = order(training())
    seen = [index for batch in batches for index in batch]
    assert [len(batch) for batch in batches] == [12] * 4
    assert len(set(seen)) == 48
    assert set(seen) <= set(range(53))


def test_order_depends_on_seed_and_epoch_alone() -> None:
    assert order(training(), 5) == order(training(), 5)
    assert order(training(), 5) != order(training(), 6)
    assert order(training(seed=8), 5) != order(training(), 5)


def test_every_position_of_an_epoch_is_equally_likely_for_an_image() -> None:
    first = [order(training(size=4, batch_size=1), epoch)[0][0] for epoch in range(2000)]
    counts = torch.bincount(torch.tensor(first))
    # 500 expected; five standard deviations of a binomial are 97.
    assert (counts - 500).abs().max() < 97


def test_flips_are_fair_and_differ_from_batch_to_batch() -> None:
    plans = list(training(size=20_000, batch_size=100))
    flips = torch.stack([plan.flip for plan in plans])
    assert abs(flips.double().mean() - 0.5) < 5 * 0.5 / flips.numel() ** 0.5
    assert len({tuple(row.tolist()) for row in flips}) == len(plans)


def test_every_image_of_every_batch_and_epoch_is_cut_by_a_seed_of_its_own() -> None:
    sampler = training()
    plans = list(sampler)
    sampler.set_epoch(1)
    seeds = [seed for plan in [*plans, *sampler] for seed in plan.crop.tolist()]
    assert len(set(seeds)) == len(seeds) == 2 * 48
    assert [plan.crop.tolist() for plan in training()] == [plan.crop.tolist() for plan in plans]


def test_crops_change_neither_order_nor_flips() -> None:
    for with_crops, without in zip(training(), training(crop=False), strict=True):
        assert torch.equal(with_crops.indices, without.indices)
        assert torch.equal(with_crops.flip, without.flip)


def test_without_flip_or_crop_nothing_is_drawn() -> None:
    plans = list(training(flip=False, crop=False))
    assert all(plan.flip is None and plan.crop is None for plan in plans)


@pytest.mark.parametrize("world_size", [1, 3])
def test_a_start_inside_an_epoch_gives_exactly_the_rest_of_it(world_size: int) -> None:
    whole, resumed = training(1 % world_size, world_size), training(1 % world_size, world_size)
    whole.set_epoch(3)
    resumed.start_at(3, 2)
    expected, found = list(whole)[2:], list(resumed)
    for wanted, plan in zip(expected, found, strict=True):
        assert torch.equal(wanted.indices, plan.indices)
        assert torch.equal(wanted.flip, plan.flip)
        assert torch.equal(wanted.crop, plan.crop)


def test_length_is_that_of_a_whole_epoch_also_after_a_start_inside_it() -> None:
    sampler = training()
    sampler.start_at(0, 3)
    assert len(sampler) == 4


def test_set_epoch_keeps_the_start_in_that_epoch_and_drops_it_in_another() -> None:
    sampler = training()
    sampler.start_at(1, 3)
    assert len(order(sampler, 1)) == 1
    assert len(order(sampler, 1)) == 4
    sampler.start_at(1, 3)
    assert len(order(sampler, 2)) == 4


@pytest.mark.parametrize(
    ("batch_size", "world_size", "advice"),
    [(64, 3, "use 63 or 66"), (2, 3, "use 3"), (0, 1, "use 1 or more")],
)
def test_batch_that_cannot_be_divided_says_which_can(
    batch_size: int, world_size: int, advice: str
) -> None:
    with pytest.raises(ValueError, match=rf"batch_size={batch_size} .*{advice}"):
        GlobalBatchSampler(100, batch_size, 0, world_size, 0)


def test_batch_larger_than_the_training_set_says_how_large_it_may_be() -> None:
    with pytest.raises(ValueError, match=r"batch_size=64 exceeds .* of 51 images; use 50 or less"):
        GlobalBatchSampler(51, 64, 0, 2, 0)


@pytest.mark.parametrize("world_size", [1, 2, 4])
@pytest.mark.parametrize("size", [4, 7, 8, 9, 16, 17, 31, 33])
def test_evaluation_has_every_image_once_in_equally_many_batches_per_rank(
    size: int, world_size: int
) -> None:
    samplers = [EvaluationBatchSampler(size, 8, rank, world_size) for rank in range(world_size)]
    shares = [[plan.indices.tolist() for plan in sampler] for sampler in samplers]
    assert [len(share) for share in shares] == [len(samplers[0])] * world_size
    for rank, share in enumerate(shares):
        assert all(share)
        assert list(chain(*share)) == list(range(rank, size, world_size))


def test_an_empty_split_yields_nothing_on_any_rank() -> None:
    assert [list(EvaluationBatchSampler(0, 8, rank, 2)) for rank in range(2)] == [[], []]


def test_a_split_smaller_than_the_number_of_processes_is_refused() -> None:
    with pytest.raises(ValueError, match="3 images cannot be shared by 4 processes"):
        EvaluationBatchSampler(3, 8, 0, 4)
