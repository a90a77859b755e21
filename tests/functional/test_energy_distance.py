"""The energy distance against scipy in one dimension and against what Gaussians give."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import energy_distance as of_scipy
from scipy.stats import norm

from functional import energy_distance as module
from functional.energy_distance import energy_distance


def normal(n: int, shift: float = 0.0, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 1, generator=generator, dtype=torch.float64) + shift


def test_it_is_scipys_with_pairs_of_a_point_and_itself_left_out() -> None:
    x, y = normal(60), normal(40, 0.7, seed=1)
    within = [float(torch.cdist(z, z).mean()) for z in (x, y)]
    # scipy gives the root, and counts those pairs, of distance 0, in its means.
    biased = energy_distance(x, y) + within[0] / 59 + within[1] / 39
    assert biased == pytest.approx(of_scipy(x.flatten(), y.flatten()) ** 2, rel=1e-9)


def test_two_gaussians_are_as_far_apart_as_their_expectations_say() -> None:
    shift, n = 1.5, 4000
    spread = math.sqrt(2)  # of X - Y
    apart = spread * math.sqrt(2 / math.pi) * math.exp(-((shift / spread) ** 2) / 2)
    apart += shift * (1 - 2 * float(norm.cdf(-shift / spread)))
    wanted = 2 * apart - 2 * spread * math.sqrt(2 / math.pi)
    assert energy_distance(normal(n), normal(n, shift, seed=1)) == pytest.approx(wanted, abs=0.05)


def test_sets_of_one_distribution_lie_about_0() -> None:
    values = [
        energy_distance(normal(200, seed=2 * i), normal(200, seed=2 * i + 1)) for i in range(40)
    ]
    assert abs(sum(values)) / 40 < 0.003
    assert min(values) < 0 < max(values) < 0.05


def test_parts_of_the_matrix_of_distances_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = torch.randn(50, 2, 1, 1), torch.rand(30, 2, 1, 1)
    whole = energy_distance(x, y)
    monkeypatch.setattr(module, "CHUNK", 7)
    assert energy_distance(x, y) == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize(
    ("x", "words"),
    [(torch.zeros(1, 2), "1 and 5 points"), (torch.full((3, 2), torch.nan), "diverged")],
)
def test_what_cannot_be_compared_is_refused(x: torch.Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        energy_distance(x, torch.zeros(5, 2))
