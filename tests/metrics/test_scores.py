from __future__ import annotations

import math

import pytest
import torch

from metrics.scores import inception_score, kernel_distance, squared_mmd


def test_squared_mmd_equals_the_double_sum_of_its_definition() -> None:
    x, y = torch.randn(7, 5).double(), torch.randn(9, 5).double() + 0.5

    def kernel(a: torch.Tensor, b: torch.Tensor) -> float:
        return float((a @ b / 5 + 1) ** 3)

    within_x = sum(kernel(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j)
    within_y = sum(kernel(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j)
    between = sum(kernel(a, b) for a in x for b in y)
    expected = within_x / 42 + within_y / 72 - 2 * between / 63
    assert float(squared_mmd(x, y)) == pytest.approx(expected, rel=1e-12)


def test_kid_equals_torch_fidelity_where_each_subset_is_the_whole() -> None:
    fidelity = pytest.importorskip("torch_fidelity.metric_kid")
    x, y = torch.randn(2, 200, 32, generator=torch.Generator().manual_seed(0)).double()
    expected = fidelity.kid_features_to_metric(
        x * 1.2, y, kid_subsets=3, kid_subset_size=200, verbose=False
    )
    score = kernel_distance(x * 1.2, y, subsets=3)
    assert score.mean == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-9)
    assert score.std == pytest.approx(0, abs=1e-9)


def test_kid_is_unbiased_on_one_distribution_and_grows_with_a_shift() -> None:
    x, y = torch.randn(2, 2000, 16, generator=torch.Generator().manual_seed(0))
    same = kernel_distance(x, y, subsets=20, subset_size=500)
    assert abs(same.mean) < 2 * same.std
    shifts = [kernel_distance(x + s, y, subsets=5, subset_size=500).mean for s in (0.1, 0.2, 0.4)]
    assert shifts == sorted(shifts)
    assert shifts[0] > same.mean


def test_kid_is_a_function_of_its_seed() -> None:
    x, y = torch.randn(2, 300, 8)
    assert kernel_distance(x, y, subset_size=50) == kernel_distance(x, y, subset_size=50)
    assert kernel_distance(x, y, subset_size=50) != kernel_distance(x, y, subset_size=50, seed=1)


def test_inception_score_is_the_number_of_classes_when_sure_and_even_and_one_when_not() -> None:
    sure = 100 * torch.eye(10).repeat(500, 1)
    assert inception_score(sure).mean == pytest.approx(10, abs=0.1)
    assert inception_score(torch.zeros(500, 10)).mean == pytest.approx(1, abs=1e-12)
    one_class = 100 * torch.eye(10)[:1].repeat(500, 1)
    assert inception_score(one_class).mean == pytest.approx(1, abs=1e-12)


def test_inception_score_equals_torch_fidelity_on_one_split() -> None:
    fidelity = pytest.importorskip("torch_fidelity.metric_isc")
    logits = 3 * torch.randn(400, 10, generator=torch.Generator().manual_seed(0))
    expected = fidelity.isc_features_to_metric(logits, splits=1)
    assert inception_score(logits, splits=1).mean == pytest.approx(
        expected["inception_score_mean"], rel=1e-12
    )
    assert math.isclose(inception_score(logits, splits=1).std, 0)


def test_too_few_images_are_refused() -> None:
    with pytest.raises(ValueError, match="two features or more"):
        kernel_distance(torch.zeros(1, 4), torch.zeros(5, 4))
    with pytest.raises(ValueError, match="10 images or more, got 9"):
        inception_score(torch.zeros(9, 10))
