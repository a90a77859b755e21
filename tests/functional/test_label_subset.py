"""Few labels: balanced, and the same ones for the same seed."""

from __future__ import annotations

import pytest
import torch

from functional.label_subset import balanced_subset, shuffled_positions

LABELS = torch.randint(0, 10, (2000,), generator=torch.Generator().manual_seed(0))


def test_every_class_has_equally_many() -> None:
    chosen = balanced_subset(LABELS, 300, 10, seed=0)
    assert torch.equal(LABELS[chosen].bincount(), torch.full((10,), 30))
    assert len(chosen.unique()) == 300 and torch.equal(chosen, chosen.sort().values)


def test_what_the_classes_do_not_divide_differs_by_one() -> None:
    counts = LABELS[balanced_subset(LABELS, 47, 10, seed=0)].bincount()
    assert counts.sum() == 47 and counts.min() == 4 and counts.max() == 5


def test_the_seed_decides_which() -> None:
    first, again, other = (balanced_subset(LABELS, 100, 10, seed) for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_more_labels_than_a_class_has_are_refused() -> None:
    with pytest.raises(ValueError, match="labels=1990 takes 199 images of class"):
        balanced_subset(LABELS, 1990, 10, seed=0)
    for n in (9, 2001):
        with pytest.raises(ValueError, match=f"labels={n} of 2000 images in 10 classes"):
            balanced_subset(LABELS, n, 10, seed=0)


def test_shuffled_positions_go_on_where_they_ended_and_visit_each_image_once_an_epoch() -> None:
    whole = shuffled_positions(7, 0, 21, seed=3)
    for epoch in whole.view(3, 7):
        assert sorted(epoch.tolist()) == list(range(7))
    pieces = [shuffled_positions(7, start, 5, seed=3) for start in (0, 5, 10, 15)]
    assert torch.equal(torch.cat(pieces), whole[:20])
    assert not torch.equal(whole[:7], whole[7:14])
    assert not torch.equal(whole, shuffled_positions(7, 0, 21, seed=4))
