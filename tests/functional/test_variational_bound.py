from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from functional.diffusion import posterior, q_sample
from functional.variational_bound import decoder_nats, prior_term, step_terms
from tests.functional.gaussian_data import SCHEDULES


def images(n: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    levels = torch.randint(0, 256, (n, 1, 3, 3), generator=generator)
    return levels.double() / 127.5 - 1


def test_the_decoder_gives_every_level_the_mass_of_its_interval() -> None:
    levels = torch.arange(256, dtype=torch.float64) / 127.5 - 1
    for mean, std in ((0.3, 0.01), (-1.0, 0.3), (2.5, 1.0)):
        log_variance = torch.tensor(2 * math.log(std), dtype=torch.float64)
        mass = torch.exp(
            -decoder_nats(levels, torch.tensor(mean, dtype=torch.float64), log_variance)
        )
        assert float(mass.sum()) == pytest.approx(1, rel=1e-9)
        ends = torch.linspace(-1 - 1 / 255, 1 + 1 / 255, 257, dtype=torch.float64).numpy()
        ends[[0, -1]] = -math.inf, math.inf
        wanted = torch.from_numpy(stats.norm.cdf(ends, mean, std)).diff()
        torch.testing.assert_close(mass, wanted, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_decoder_and_its_gradient_are_finite_and_right_far_in_the_tail(
    dtype: torch.dtype,
) -> None:
    """There a level of width w around x has mass density(x) w, within a factor e^(z w / std)."""
    x0 = torch.tensor([-1.0, -0.2, 0.4, 1.0], dtype=dtype)
    mean = torch.tensor([0.9, 3.0, -3.0, -8.0], dtype=dtype, requires_grad=True)
    log_variance = torch.full((4,), 2 * math.log(0.05), dtype=dtype, requires_grad=True)
    nats = decoder_nats(x0, mean, log_variance)
    density = -Normal(mean.detach(), 0.05).log_prob(x0)
    torch.testing.assert_close(nats.detach(), density.to(dtype), rtol=0.02, atol=5.0)
    nats.sum().backward()
    z = (mean.detach() - x0) / 0.05**2
    torch.testing.assert_close(mean.grad, z, rtol=0.02, atol=1.0)


@pytest.mark.parametrize("family", SCHEDULES)
def test_a_term_is_the_divergence_of_the_models_step_from_the_true_one(family: str) -> None:
    schedule = SCHEDULES[family]
    x0, estimate = images(4), images(4, 1)
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    t = schedule.quantile(torch.tensor([0.3, 0.5, 0.7, 0.9], dtype=torch.float64))
    s = schedule.quantile(torch.tensor([0.2, 0.49, 0.1, 0.8], dtype=torch.float64))
    x_t = q_sample(x0, eps, t, schedule)
    variance = torch.tensor([0.1, 0.2, 0.3, 4.0], dtype=torch.float64).view(4, 1, 1, 1)
    got = step_terms(x0, estimate, t, s, schedule, variance.log())
    for i in range(4):
        true = posterior(x_t[i], x0[i], t[i], s[i], schedule)
        model = posterior(x_t[i], estimate[i], t[i], s[i], schedule).mean
        pair = Normal(true.mean, true.variance.sqrt()), Normal(model, variance[i].sqrt())
        wanted = kl_divergence(*pair).mean() / math.log(2)
        assert float(got[i]) == pytest.approx(float(wanted), rel=1e-9)


@pytest.mark.parametrize("family", SCHEDULES)
def test_the_last_term_is_the_decoders(family: str) -> None:
    schedule = SCHEDULES[family]
    x0, estimate = images(2), images(2, 1)
    t, s = schedule.quantile(torch.zeros(2).double()), torch.zeros(2).double()
    log_variance = torch.full((1, 1, 1, 1), math.log(0.04), dtype=torch.float64)
    got = step_terms(x0, estimate, t, s, schedule, log_variance)
    wanted = decoder_nats(x0, estimate, log_variance).flatten(1).mean(1) / math.log(2)
    torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("family", SCHEDULES)
def test_the_prior_term_is_what_is_left_of_the_image(family: str) -> None:
    schedule, x0 = SCHEDULES[family], images(3)
    end = torch.tensor(schedule.t_max, dtype=torch.float64)
    q = Normal(schedule.alpha(end) * x0, schedule.sigma(end))
    prior = Normal(torch.zeros_like(x0), schedule.prior_std)
    wanted = kl_divergence(q, prior).flatten(1).mean(1) / math.log(2)
    torch.testing.assert_close(prior_term(x0, schedule), wanted, rtol=1e-6, atol=1e-12)
    if family == "linear":
        assert float(prior_term(x0, schedule).mean()) < 2e-5
    if family in ("zero_snr", "path"):
        assert (prior_term(x0, schedule) == 0).all()


def test_a_perfect_estimate_with_the_true_variance_costs_nothing() -> None:
    schedule, x0 = SCHEDULES["linear"], images(2)
    t = torch.tensor([500.0, 2.0]).double()
    variance = torch.stack([posterior(x0, x0, u, u - 1, schedule).variance for u in t])
    terms = step_terms(x0, x0, t, t - 1, schedule, variance.log().view(2, 1, 1, 1))
    assert terms.abs().max() < 1e-12
