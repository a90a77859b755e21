"""What is said to be known of a mixture is true, by numerical integration and differentiation."""

from __future__ import annotations

import pytest
import torch

from functional.noise_schedule import LinearPath
from functional.oracle import BestDenoiser, Mixture
from tests.functional.known_data import TWO_MODES

ALPHA, SIGMA = (torch.tensor(v, dtype=torch.float64) for v in (0.7, 0.4))
GRID = torch.linspace(-4, 4, 4001, dtype=torch.float64)


def test_the_density_of_noisy_data_is_the_convolution_with_the_noise() -> None:
    noise = torch.distributions.Normal(0.0, SIGMA)
    data = TWO_MODES.log_density(GRID.view(-1, 1, 1, 1)).exp()
    x = torch.tensor([-0.9, 0.1, 0.6], dtype=torch.float64)
    kernel = noise.log_prob(x[:, None] - ALPHA * GRID).exp()
    joint = kernel * data
    density = torch.trapezoid(joint, GRID, dim=1)
    images = x.view(-1, 1, 1, 1)
    torch.testing.assert_close(TWO_MODES.log_density(images, ALPHA, SIGMA).exp(), density)
    mean = torch.trapezoid(joint * GRID, GRID, dim=1) / density
    square = torch.trapezoid(joint * GRID**2, GRID, dim=1) / density
    torch.testing.assert_close(TWO_MODES.denoise(images, ALPHA, SIGMA).flatten(), mean)
    torch.testing.assert_close(TWO_MODES.variance(images, ALPHA, SIGMA).flatten(), square - mean**2)


def test_the_score_is_the_gradient_of_the_log_density_in_any_dimension() -> None:
    data = Mixture(torch.tensor([1.0, 2.0, 3.0]), torch.randn(3, 2, 4, 4), torch.rand(3) + 0.1)
    x = torch.randn(5, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(data.log_density(x, ALPHA, SIGMA).sum(), x)
    torch.testing.assert_close(data.score(x.detach(), ALPHA, SIGMA), gradient)


def test_draws_have_the_distribution_that_the_quantiles_say() -> None:
    drawn = TWO_MODES.draw(40_000, torch.Generator().manual_seed(0)).flatten().sort().values
    p = (torch.arange(40_000, dtype=torch.float64) + 0.5) / 40_000
    torch.testing.assert_close(TWO_MODES.cdf(TWO_MODES.quantile(p)), p)
    assert float((drawn - TWO_MODES.quantile(p)).abs().mean()) < 0.01


def test_the_flow_takes_noisy_quantiles_to_those_of_the_data() -> None:
    p = torch.linspace(0.01, 0.99, 9, dtype=torch.float64)
    noisy = TWO_MODES.quantile(p, 0.7, 0.4)
    torch.testing.assert_close(TWO_MODES.flow(noisy, 0.7, 0.4), TWO_MODES.quantile(p))


def test_the_variance_of_a_step_needs_the_grid() -> None:
    x, t = torch.zeros(1, 1, 1, 1), torch.tensor(0.5)
    with pytest.raises(ValueError, match="give the grid"):
        BestDenoiser(TWO_MODES, LinearPath()).with_variance(x, t)


def test_mixtures_that_are_none_are_refused() -> None:
    one, two = torch.ones(1), torch.ones(2)
    with pytest.raises(ValueError, match="not of one number of components"):
        Mixture(two, torch.zeros(1, 3), one)
    with pytest.raises(ValueError, match="must be positive"):
        Mixture(one, torch.zeros(1, 3), torch.zeros(1))
