from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from functional.iterative_masking import check_range, cosine_ratio, reveal, visible_counts


@pytest.mark.parametrize(("patches", "rounds"), [(16, 1), (16, 8), (16, 15), (49, 12), (196, 16)])
def test_known_patches_grow_along_a_cosine_from_one_to_all(patches: int, rounds: int) -> None:
    counts = visible_counts(patches, rounds)
    assert (counts[0], counts[-1], len(counts)) == (1, patches, rounds + 1)
    added = [after - before for before, after in pairwise(counts)]
    assert min(added) >= 1
    for t, count in enumerate(counts):
        wanted = (patches - 1) * math.cos(math.pi * t / (2 * rounds))
        # No further off than rounding and the one patch that every round adds.
        assert patches - count <= wanted + 1e-6 or patches - count == rounds - t
        assert patches - count > wanted - 1 - t


def test_twelve_rounds_of_196_patches_are_those_of_the_papers_schedule() -> None:
    """floor(195 cos(pi t / 24)) unknown ones, where none of them meets the least of one a round."""
    wanted = [196 - math.floor(195 * math.cos(math.pi * t / 24) + 1e-9) for t in range(13)]
    assert visible_counts(196, 12) == wanted


@pytest.mark.parametrize("rounds", [0, 16, 40])
def test_rounds_that_would_add_nothing_are_refused(rounds: int) -> None:
    with pytest.raises(ValueError, match=f"{rounds} rounds for 16 patches.* expected 1 to 15"):
        visible_counts(16, rounds)


def test_training_ratios_follow_the_cosine_law_within_their_range() -> None:
    u = torch.linspace(0, 1, 2001)[:-1].tolist()
    ratios = torch.tensor([cosine_ratio((0.5, 1.0), 10_000, x) for x in u])
    assert ratios.min() == pytest.approx(0.5, abs=1e-3) and ratios.max() < 1
    for threshold in (0.6, 0.8, 0.95):
        share = math.acos(threshold) / math.acos(0.5)  # P(cos(x) > threshold), x in [0, acos .5]
        assert (ratios > threshold).double().mean() == pytest.approx(share, abs=2e-3)


@pytest.mark.parametrize("u", [0.0, 0.3, 0.999])
def test_a_ratio_hides_a_whole_number_of_patches_neither_none_nor_all(u: float) -> None:
    hidden = 16 * cosine_ratio((0.0, 1.0), 16, u)
    assert hidden == int(hidden) and 1 <= hidden <= 15


@pytest.mark.parametrize("ratios", [[0.5], [0.8, 0.5], [-0.1, 0.5], [0.5, 1.1], [0.5, 0.5]])
def test_a_range_that_is_none_is_refused(ratios: list[float]) -> None:
    with pytest.raises(ValueError, match="expected two numbers in"):
        check_range(ratios)


def revealed(counts: list[int], asked: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Patches ``(2, 6, 1)`` of a predictor that adds 100 to a patch's number, and their order."""
    order = torch.stack([torch.arange(6), torch.arange(6).flip(0)])
    start = torch.zeros(2, 6, 1)
    start[:, :, 0] = torch.where(order.argsort(1) < counts[0], -1.0, torch.nan)

    def predict(patches: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
        asked.append(visible)
        assert not gather(patches, visible).isnan().any()
        return (100 + torch.arange(6.0))[None, :, None].expand(2, -1, 1)

    return reveal(start, order, counts, predict, lambda p, known: p + known / 10), order


def gather(patches: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    return patches[torch.arange(len(patches))[:, None], places]


def test_each_round_keeps_what_is_predicted_at_the_next_places_and_nothing_known_changes() -> None:
    asked: list[torch.Tensor] = []
    patches, order = revealed([1, 3, 6], asked)
    assert [visible.shape[1] for visible in asked] == [1, 3]
    assert all(torch.equal(v, order[:, : v.shape[1]]) for v in asked)
    place = torch.arange(6.0)
    for image in range(2):
        turn = order[image].argsort()
        drawn = 100 + place + torch.where(turn < 3, 0.1, 0.3)
        wanted = torch.where(turn < 1, torch.full((6,), -1.0), drawn)
        torch.testing.assert_close(patches[image, :, 0], wanted)
