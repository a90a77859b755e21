from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch

from functional.frechet import (
    factor_of_covariance,
    factor_of_features,
    frechet_distance,
    frechet_distance_of_factors,
    frechet_distance_of_features,
    moments,
)


def features(n: int, d: int, seed: int, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(d, d, generator=torch.Generator().manual_seed(99)) / d**0.5
    return scale * torch.randn(n, d, generator=generator) @ mixing + 0.1 * seed


def scipy_frechet(a: torch.Tensor, b: torch.Tensor) -> float:
    x, y = a.double().numpy(), b.double().numpy()
    cov_x, cov_y = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(cov_x @ cov_y).real
    shift = x.mean(axis=0) - y.mean(axis=0)
    return float(shift @ shift + np.trace(cov_x + cov_y - 2 * root))


def test_equals_scipy_in_float64() -> None:
    a, b = features(400, 48, 1), features(300, 48, 2, scale=1.3)
    expected = scipy_frechet(a, b)
    assert float(frechet_distance(*moments(a), *moments(b))) == pytest.approx(expected, rel=1e-6)
    assert float(frechet_distance_of_features(a, b)) == pytest.approx(expected, rel=1e-6)


def test_moments_are_the_unbiased_ones_of_numpy_over_several_chunks() -> None:
    x = features(20_000, 8, 3)
    mean, cov = moments(x)
    np.testing.assert_allclose(mean, x.double().numpy().mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(
        cov, np.cov(x.double().numpy(), rowvar=False), rtol=1e-10, atol=1e-14
    )


def test_closed_form_of_gaussians_with_commuting_covariances() -> None:
    rotation = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64)).Q
    s, t = torch.rand(6).double() + 0.1, torch.rand(6).double() + 0.1
    a, b = rotation @ torch.diag(s**2) @ rotation.T, rotation @ torch.diag(t**2) @ rotation.T
    mean = torch.arange(6).double()
    distance = frechet_distance(mean, a, mean + 1, b)
    torch.testing.assert_close(distance, 6 + (s - t).square().sum(), rtol=1e-12, atol=0)


def test_zero_on_identical_gaussians_and_the_same_in_both_directions() -> None:
    a, b = moments(features(200, 32, 1)), moments(features(200, 32, 2))
    assert float(frechet_distance(*a, *a)) < 1e-12 * float(a.cov.trace())
    torch.testing.assert_close(
        frechet_distance(*a, *b), frechet_distance(*b, *a), rtol=1e-12, atol=0
    )


@pytest.mark.parametrize(("n", "m"), [(20, 30), (20, 500), (500, 20)])
def test_low_rank_form_equals_full_form_when_images_are_fewer_than_features(n: int, m: int) -> None:
    a, b = features(n, 64, 1), features(m, 64, 2)
    low_rank = frechet_distance_of_features(a, b)
    full = frechet_distance(*moments(a), *moments(b))
    assert factor_of_features(features(20, 64, 1)).factor.shape == (64, 20)
    torch.testing.assert_close(low_rank, full, rtol=1e-6, atol=0)


def test_low_rank_form_is_exact_where_the_root_of_eigenvalues_is_not() -> None:
    a = features(10, 256, 1, scale=100.0)
    assert float(frechet_distance_of_features(a, a)) < 1e-9 * float(moments(a).cov.trace())


@pytest.mark.parametrize(("n", "expected", "within"), [(70, 31.9, 2.0), (500, 4.5, 0.4)])
def test_bias_of_a_finite_sample_is_the_known_one(n: int, expected: float, within: float) -> None:
    generator = torch.Generator().manual_seed(0)
    draws = [
        frechet_distance_of_features(*torch.randn(2, n, 64, generator=generator).double())
        for _ in range(5)
    ]
    assert float(torch.stack(draws).mean()) == pytest.approx(expected, abs=within)


def test_any_float_type_is_computed_in_float64() -> None:
    a, b = moments(features(200, 16, 1)), moments(features(200, 16, 2))
    single = frechet_distance(*(t.float() for t in (*a, *b)))
    assert single.dtype == torch.float64
    torch.testing.assert_close(single, frechet_distance(*a, *b), rtol=1e-5, atol=0)


def test_a_negative_eigenvalue_beyond_round_off_is_clamped_and_said() -> None:
    cov = torch.diag(torch.tensor([1.0, 1.0, -1e-6], dtype=torch.float64))
    with pytest.warns(UserWarning, match="negative eigenvalue -1e-06"):
        gaussian = factor_of_covariance(torch.zeros(3), cov)
    assert gaussian.factor.shape == (3, 2)


@pytest.mark.filterwarnings("error")
def test_round_off_below_zero_passes_in_silence() -> None:
    factor_of_covariance(torch.zeros(2), torch.diag(torch.tensor([1.0, -1e-16]).double()))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    x = features(40, 8, 1)
    mean, cov = moments(x)
    x[3, 2] = bad
    with pytest.raises(ValueError, match="NaN or infinite"):
        moments(x)
    with pytest.raises(ValueError, match="NaN or infinite"):
        frechet_distance(mean, cov * bad, mean, cov)


def test_what_is_no_gaussian_is_refused() -> None:
    mean, eye = torch.zeros(3), torch.eye(3)
    with pytest.raises(ValueError, match=r"mean \(d,\)"):
        frechet_distance(mean, eye[:2], mean, eye)
    with pytest.raises(ValueError, match="not symmetric"):
        frechet_distance(mean, eye + torch.ones(3, 3).triu(1), mean, eye)
    with pytest.raises(ValueError, match="has none below zero"):
        frechet_distance(mean, torch.diag(torch.tensor([1.0, 1.0, -1.0])), mean, eye)
    with pytest.raises(ValueError, match="3 and 4 dimensions"):
        frechet_distance_of_factors(
            factor_of_covariance(mean, eye), factor_of_covariance(torch.zeros(4), torch.eye(4))
        )
    with pytest.raises(ValueError, match="n >= 2"):
        moments(torch.zeros(1, 4))
