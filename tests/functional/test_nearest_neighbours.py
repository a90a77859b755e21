"""The weighted vote of nearest neighbours against a loop over everything."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from functional import nearest_neighbours
from functional.nearest_neighbours import vote

K, T, CLASSES = 5, 0.07, 4


def data() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    queries, bank = (torch.randn(n, 6, generator=generator) for n in (11, 40))
    return queries, bank, torch.randint(0, CLASSES, (40,), generator=generator)


def brute_force(query: Tensor, bank: Tensor, labels: Tensor) -> list[float]:
    cosines = [float(query @ row / (query.norm() * row.norm())) for row in bank]
    votes = [0.0] * CLASSES
    for cosine, label in sorted(zip(cosines, labels.tolist(), strict=True), reverse=True)[:K]:
        votes[label] += math.exp(cosine / T)
    return [v / sum(votes) for v in votes]


def test_votes_equal_a_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, bank, labels = data()
    monkeypatch.setattr(nearest_neighbours, "CHUNK", 4)
    votes = vote(queries, bank, labels, CLASSES, K, T)
    shares = votes / votes.sum(dim=1, keepdim=True)
    expected = torch.tensor([brute_force(query, bank, labels) for query in queries])
    torch.testing.assert_close(shares, expected, rtol=1e-3, atol=1e-4)


def test_the_length_of_a_feature_does_not_count() -> None:
    queries, bank, labels = data()
    scaled = vote(9 * queries, bank * torch.rand(40, 1).add(0.1), labels, CLASSES, K, T)
    torch.testing.assert_close(scaled, vote(queries, bank, labels, CLASSES, K, T))


def test_a_tiny_temperature_listens_to_the_nearest_and_stays_finite() -> None:
    _, bank, labels = data()
    votes = vote(bank, bank, labels, CLASSES, K, 1e-4)
    assert torch.isfinite(votes).all() and torch.equal(votes.argmax(dim=1), labels)


def test_a_k_that_the_bank_has_not_is_refused() -> None:
    queries, bank, labels = data()
    with pytest.raises(ValueError, match="k=41 neighbours of 40 images"):
        vote(queries, bank, labels, CLASSES, 41, T)
    with pytest.raises(ValueError, match="temperature=0"):
        vote(queries, bank, labels, CLASSES, K, 0)
