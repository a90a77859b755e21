from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from functional.diffusion import (
    PREDICTIONS,
    SIGMA_DATA,
    check_prediction,
    input_scale,
    levels,
    posterior,
    q_sample,
    simple_loss,
    target,
    to_eps,
    to_x0,
)
from functional.noise_schedule import NoiseSchedule, VarianceExploding, VariancePreserving
from tests.functional.gaussian_data import SCHEDULES


def at(t: float) -> Tensor:
    return torch.tensor(t, dtype=torch.float64)


@pytest.mark.parametrize("family", SCHEDULES)
def test_q_sample_has_the_moments_of_the_schedule(family: str) -> None:
    schedule = SCHEDULES[family]
    generator = torch.Generator().manual_seed(0)
    t = schedule.quantile(at(0.4))
    x0 = torch.full((200_000, 1), 0.7, dtype=torch.float64)
    eps = torch.randn(x0.shape, generator=generator, dtype=torch.float64)
    x_t = q_sample(x0, eps, t, schedule)
    alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
    assert float(x_t.mean()) == pytest.approx(0.7 * alpha, abs=4 * sigma / 447)
    assert float(x_t.std()) == pytest.approx(sigma, rel=0.01)


def test_q_sample_takes_a_time_per_image() -> None:
    schedule = SCHEDULES["linear"]
    x0, eps = torch.randn(3, 2, 4, 4), torch.randn(3, 2, 4, 4)
    t = torch.tensor([1.0, 500.0, 1000.0])
    whole = q_sample(x0, eps, t, schedule)
    assert whole.dtype == torch.float32
    for i in range(3):
        torch.testing.assert_close(whole[i], q_sample(x0[i], eps[i], t[i], schedule))


def test_levels_are_computed_in_float64_and_given_as_the_images() -> None:
    alpha, sigma = levels(SCHEDULES["linear"], torch.tensor([1.0, 2.0]), torch.zeros(2, 3, 4, 4))
    assert alpha.shape == sigma.shape == (2, 1, 1, 1)
    assert alpha.dtype == torch.float32
    # 1 - alpha_bar_1 = 1e-4 to float32's own precision; a float32 product would be off by 1e-3.
    assert float(sigma[0, 0, 0, 0]) == pytest.approx(0.01, rel=1e-6)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("t", [2, 10, 500, 1000])
def test_posterior_of_one_step_is_equation_6_and_7_of_ho_2020(schedule: str, t: int) -> None:
    chain = SCHEDULES[schedule]
    assert isinstance(chain, VariancePreserving)
    beta, bar, before = (
        float(chain.betas[t - 1]), float(chain.alpha_bar[t]), float(chain.alpha_bar[t - 1])
    )  # fmt: skip
    x_t, x0 = at(0.3), at(-0.8)
    mean = (
        math.sqrt(before) * beta / (1 - bar) * x0
        + math.sqrt(1 - beta) * (1 - before) / (1 - bar) * x_t
    )
    got = posterior(x_t, x0, at(t), at(t - 1), chain)
    assert float(got.mean) == pytest.approx(float(mean), rel=1e-9)
    assert float(got.variance) == pytest.approx((1 - before) / (1 - bar) * beta, rel=1e-9)


@pytest.mark.parametrize(
    ("family", "t", "s"),
    [("linear", 700, 300), ("cosine", 1000, 1), ("path", 0.9, 0.2), ("exploding", 3.0, 0.5)],
)
def test_posterior_of_a_long_step_is_bayes_rule_on_a_grid(family: str, t: float, s: float) -> None:
    """q(x_s | x_t, x_0) is proportional to q(x_s | x_0) q(x_t | x_s): summed numerically."""
    schedule = SCHEDULES[family]
    x_t, x0 = 0.6, -0.4
    (alpha_t, sigma_t), (alpha_s, sigma_s) = (
        (float(schedule.alpha(at(time))), float(schedule.sigma(at(time)))) for time in (t, s)
    )
    x = np.linspace(alpha_s * x0 - 12 * sigma_s, alpha_s * x0 + 12 * sigma_s, 400_001)
    ratio = alpha_t / alpha_s
    log_density = -((x - alpha_s * x0) ** 2) / (2 * sigma_s**2)
    log_density -= (x_t - ratio * x) ** 2 / (2 * (sigma_t**2 - (ratio * sigma_s) ** 2))
    weight = np.exp(log_density - log_density.max())
    mean = (weight * x).sum() / weight.sum()
    variance = (weight * (x - mean) ** 2).sum() / weight.sum()
    got = posterior(at(x_t), at(x0), at(t), at(s), schedule)
    assert float(got.mean) == pytest.approx(mean, rel=1e-6, abs=1e-9)
    assert float(got.variance) == pytest.approx(variance, rel=1e-6)


@pytest.mark.parametrize("family", SCHEDULES)
def test_posterior_at_the_clean_image_is_the_clean_image(family: str) -> None:
    schedule = SCHEDULES[family]
    got = posterior(at(0.3), at(-0.8), schedule.quantile(at(0.0)), at(0.0), schedule)
    assert float(got.mean) == pytest.approx(-0.8)
    assert got.variance == 0


@pytest.mark.parametrize("family", SCHEDULES)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_to_x0_inverts_target(prediction: str, family: str) -> None:
    schedule = SCHEDULES[family]
    generator = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 9, 1, 4, 4, generator=generator, dtype=torch.float64)
    t = schedule.quantile(torch.linspace(0.05, 0.95, 9, dtype=torch.float64))
    alpha, sigma = levels(schedule, t, x0)
    x_t = q_sample(x0, eps, t, schedule)
    output = target(prediction, x0, eps, alpha, sigma)
    torch.testing.assert_close(to_x0(prediction, output, x_t, alpha, sigma), x0)
    torch.testing.assert_close(to_eps(x_t, x0, alpha, sigma), eps)


def test_only_eps_needs_a_level_where_some_of_the_image_is_left() -> None:
    x0, eps = torch.tensor([0.5]), torch.tensor([-1.0])
    alpha, sigma = torch.tensor([0.0]), torch.tensor([1.0])
    for prediction in ("x0", "v", "velocity"):
        output = target(prediction, x0, eps, alpha, sigma)
        torch.testing.assert_close(to_x0(prediction, output, eps, alpha, sigma), x0)


@pytest.mark.parametrize("sigma", [0.002, 0.1, 0.5, 3.0, 80.0])
def test_edm_gives_a_network_input_and_target_of_unit_variance(sigma: float) -> None:
    one, zero = at(1.0), at(0.0)
    alpha, noise = at(1.0), at(sigma)
    # Affine in x0 and eps: the coefficients give the variance exactly.
    of_x0 = float(target("edm", one, zero, alpha, noise))
    of_eps = float(target("edm", zero, one, alpha, noise))
    assert of_x0**2 * SIGMA_DATA**2 + of_eps**2 == pytest.approx(1)
    c_in = float(input_scale("edm", alpha, noise))
    assert c_in**2 * (SIGMA_DATA**2 + sigma**2) == pytest.approx(1)


@pytest.mark.parametrize("sigma", [0.002, 0.5, 80.0])
def test_edm_is_the_preconditioning_of_table_1(sigma: float) -> None:
    data, x, output = 0.5, 0.7, -0.2
    total = sigma**2 + data**2
    c_skip, c_out, c_in = data**2 / total, sigma * data / total**0.5, 1 / total**0.5
    denoised = to_x0("edm", at(output), at(x), at(1.0), at(sigma))
    assert float(denoised) == pytest.approx(c_skip * x + c_out * output)
    assert float(input_scale("edm", at(1.0), at(sigma))) == pytest.approx(c_in)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v", "velocity"])
def test_the_other_predictions_leave_the_input_as_it_is(prediction: str) -> None:
    assert input_scale(prediction, at(0.3), at(0.9)) == 1


def test_loss_of_edm_is_its_weighted_error_of_the_image() -> None:
    """lambda(sigma) |D - x0|^2 with lambda = (sigma^2 + data^2) / (sigma data)^2 (table 1)."""
    schedule: NoiseSchedule = VarianceExploding()
    x0, eps = torch.randn(5, 1, 2, 2).double(), torch.randn(5, 1, 2, 2).double()
    t = torch.tensor([0.01, 0.3, 1.0, 5.0, 70.0], dtype=torch.float64)
    alpha, sigma = levels(schedule, t, x0)
    output = torch.randn(5, 1, 2, 2).double()
    denoised = to_x0("edm", output, q_sample(x0, eps, t, schedule), alpha, sigma)
    weight = (t**2 + 0.25) / (t * 0.5) ** 2
    wanted = weight * (denoised - x0).square().flatten(1).mean(dim=1)
    got = simple_loss(output, target("edm", x0, eps, alpha, sigma))
    torch.testing.assert_close(got, wanted.float(), rtol=1e-4, atol=1e-5)


def test_loss_is_the_mean_squared_error_of_each_image_in_float32() -> None:
    output = torch.tensor([[1.0, 3.0], [0.0, 0.0]]).bfloat16()
    got = simple_loss(output, torch.tensor([[0.0, 0.0], [2.0, 0.0]]))
    assert got.dtype == torch.float32
    assert got.tolist() == [5.0, 2.0]


def test_unknown_prediction_is_named() -> None:
    with pytest.raises(ValueError, match="'epsilon'; known: eps, x0, v, velocity, edm"):
        check_prediction("epsilon")
