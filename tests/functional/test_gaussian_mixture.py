from __future__ import annotations

import pytest
import torch
from torch.distributions import MultivariateNormal

from functional.gaussian_mixture import GaussianMixture, fit_mixture
from functional.seeding import ImageNoise, image_seeds


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def two_clouds() -> GaussianMixture:
    factors = torch.tensor([[[1.0, 0.0], [0.8, 0.6]], [[0.5, 0.0], [0.0, 2.0]]])
    means = torch.tensor([[-4.0, 0.0], [4.0, 1.0]])
    return GaussianMixture(torch.tensor([0.3, 0.7]).double(), means.double(), factors.double())


def test_the_density_is_that_of_torch_distributions() -> None:
    mixture = two_clouds()
    points = torch.randn(5, 2, generator=generator()).double()
    parts = [
        w.log() + MultivariateNormal(m, scale_tril=f).log_prob(points)
        for w, m, f in zip(mixture.weights, mixture.means, mixture.factors, strict=True)
    ]
    torch.testing.assert_close(mixture.log_density(points), torch.stack(parts).logsumexp(dim=0))


def test_one_component_is_the_mean_and_the_covariance() -> None:
    points = torch.randn(50, 3, generator=generator()).double() * torch.tensor([1.0, 2.0, 3.0])
    mixture = fit_mixture(points, 1, generator(), ridge=0.0)
    torch.testing.assert_close(mixture.means[0], points.mean(dim=0))
    covariance = mixture.factors[0] @ mixture.factors[0].T
    torch.testing.assert_close(covariance, points.T.cov(correction=0))


def test_a_fit_finds_the_mixture_that_made_the_points() -> None:
    truth = two_clouds()
    points = truth.sample(ImageNoise(image_seeds(0, range(4000))))
    found = fit_mixture(points, 2, generator())
    order = found.means[:, 0].argsort()
    torch.testing.assert_close(found.weights[order], truth.weights, atol=0.03, rtol=0)
    torch.testing.assert_close(found.means[order], truth.means, atol=0.15, rtol=0)
    torch.testing.assert_close(found.factors[order], truth.factors, atol=0.12, rtol=0)
    assert found.log_density(points).mean() >= truth.log_density(points).mean()


def test_more_iterations_never_lower_the_likelihood() -> None:
    points = torch.rand(300, 4, generator=generator())
    likelihoods = [
        float(fit_mixture(points, 3, generator(), n, -1.0).log_density(points).mean())
        for n in range(6)
    ]
    assert likelihoods == sorted(likelihoods) and likelihoods[0] < likelihoods[-1]


def test_point_i_is_of_seed_i_alone() -> None:
    together = two_clouds().sample(ImageNoise([3, 4, 5]))
    torch.testing.assert_close(two_clouds().sample(ImageNoise([4])), together[1:2])


def test_equal_points_have_a_finite_density() -> None:
    mixture = fit_mixture(torch.ones(10, 2), 2, generator())
    assert torch.isfinite(mixture.log_density(torch.ones(1, 2))).all()


@pytest.mark.parametrize(("points", "k"), [(torch.ones(3, 2), 2), (torch.ones(3, 2), 0)])
def test_too_few_points_are_refused(points: torch.Tensor, k: int) -> None:
    with pytest.raises(ValueError, match="2 points each"):
        fit_mixture(points, k, generator())


def test_points_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="look at the encoder"):
        fit_mixture(torch.full((9, 2), torch.nan), 2, generator())
