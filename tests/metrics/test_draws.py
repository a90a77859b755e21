from __future__ import annotations

import pytest
import torch

from metrics.draws import FidelityDraws
from metrics.scores import inception_score, kernel_distance


def test_draws_of_kid_and_splits_of_the_inception_score_are_those_of_torch_fidelity() -> None:
    """With more images than a subset has, and a number that ten does not divide."""
    pytest.importorskip("torch_fidelity")
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric

    draws = torch.Generator().manual_seed(0)
    x, y = torch.randn(73, 5, generator=draws), 1 + torch.randn(61, 5, generator=draws)
    settings = {"kid_subsets": 7, "kid_subset_size": 20, "rng_seed": 3, "verbose": False}
    theirs = kid_features_to_metric(x, y, **settings)
    ours = kernel_distance(x, y, subsets=7, subset_size=20, seed=3, draws=FidelityDraws)
    assert list(ours) == pytest.approx(list(theirs.values()), rel=1e-4)
    wanted = isc_features_to_metric(x, 10, True, 3)
    assert list(inception_score(x, seed=3, draws=FidelityDraws)) == pytest.approx(
        list(wanted.values()), rel=1e-6
    )


def test_an_unequal_part_is_drawn_at_random_and_an_equal_one_is_the_whole() -> None:
    drawn = FidelityDraws(0).share(100, 20)
    assert len(set(drawn.tolist())) == 20 and drawn.max() > 50
    assert FidelityDraws(0).share(5, 5).tolist() == [0, 1, 2, 3, 4]
