from __future__ import annotations

import pytest
import torch

from metrics import manifold
from metrics.manifold import density_coverage, nearest_neighbours, precision_recall


def clouds(n: int = 300, d: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(n, d, generator=generator)
    return 0.6 * torch.randn(n, d, generator=generator) + 0.3, real


def test_precision_and_recall_equal_torch_fidelity() -> None:
    fidelity = pytest.importorskip("torch_fidelity.metric_prc")
    generated, real = clouds()
    expected = fidelity.prc_features_to_metric(
        generated.double(), real.double(), prc_neighborhood=3, prc_batch_size=77, verbose=False
    )
    precision, recall = precision_recall(generated, real)
    assert 0.2 < recall < precision
    assert precision == pytest.approx(expected["precision"], abs=1e-7)
    assert recall == pytest.approx(expected["recall"], abs=1e-7)


def test_density_and_coverage_equal_their_definition_by_loops() -> None:
    generated, real = (x[:60].double() for x in clouds())
    radii = [sorted(float((x - y).norm()) for y in real)[5] for x in real]
    inside = [
        [float((g - x).norm()) < r for g in generated] for x, r in zip(real, radii, strict=True)
    ]
    density, coverage = density_coverage(generated, real, k=5)
    assert density == pytest.approx(sum(map(sum, inside)) / (5 * 60))
    assert coverage == pytest.approx(sum(map(any, inside)) / 60)


def test_the_same_distribution_scores_high_and_a_far_one_zero() -> None:
    x = torch.randn(2, 1000, 4, generator=torch.Generator().manual_seed(1))
    assert min(precision_recall(x[0], x[1])) > 0.9
    density, coverage = density_coverage(x[0], x[1])
    assert density == pytest.approx(1, abs=0.1)
    assert coverage > 0.9
    assert precision_recall(x[0] + 100, x[1]) == (0, 0)
    assert density_coverage(x[0] + 100, x[1]) == (0, 0)


def test_a_collapsed_generator_has_precision_without_recall_or_coverage() -> None:
    _, real = clouds(500)
    collapsed = real[:1] * 0 + 0.01 * torch.randn(
        500, 8, generator=torch.Generator().manual_seed(2)
    )
    precision, recall = precision_recall(collapsed, real)
    assert precision > 0.9
    assert recall < 0.02
    assert density_coverage(collapsed, real)[1] < 0.2


def test_tiles_do_not_change_the_values(monkeypatch: pytest.MonkeyPatch) -> None:
    generated, real = clouds()
    whole = precision_recall(generated, real), density_coverage(generated, real)
    neighbours = nearest_neighbours(generated, real, k=3)
    monkeypatch.setattr(manifold, "TILE_ELEMENTS", 7 * 300)
    assert (precision_recall(generated, real), density_coverage(generated, real)) == whole
    assert torch.equal(nearest_neighbours(generated, real, k=3).indices, neighbours.indices)


def test_a_copied_training_image_is_its_own_nearest_neighbour() -> None:
    _, real = clouds()
    indices, distances = nearest_neighbours(real[[7, 42]], real, k=2)
    assert indices[:, 0].tolist() == [7, 42]
    assert float(distances[:, 0].max()) < 1e-6
    assert (distances[:, 1] > distances[:, 0]).all()


def test_sets_of_different_size_and_impossible_k_are_refused() -> None:
    x = torch.zeros(10, 3)
    with pytest.raises(ValueError, match="same n"):
        precision_recall(x[:9], x)
    with pytest.raises(ValueError, match="k=10"):
        density_coverage(x, x, k=10)
    with pytest.raises(ValueError, match="k=11 must be in 1"):
        nearest_neighbours(x, x, k=11)
    with pytest.raises(ValueError, match="must be"):
        nearest_neighbours(torch.zeros(4, 2), x)
