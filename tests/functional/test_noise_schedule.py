from __future__ import annotations

import math

import pytest
import torch

from functional.noise_schedule import (
    LinearPath,
    VarianceExploding,
    VariancePreserving,
    cosine_betas,
    linear_betas,
)
from tests.functional.gaussian_data import SCHEDULES


def test_linear_schedule_is_that_of_ho_2020() -> None:
    chain = VariancePreserving(1000)
    assert chain.betas[0] == 1e-4 and chain.betas[-1] == 0.02
    assert chain.alpha_bar[0] == 1
    assert float(chain.alpha_bar[1]) == pytest.approx(0.9999)
    # L_T of the paper is near 1e-5 bits/dim because so little of the image is left.
    assert float(chain.alpha_bar[1000]) == pytest.approx(4.0358e-5, rel=1e-4)


def test_an_unscaled_linear_schedule_of_100_steps_leaves_much_of_the_image() -> None:
    assert float(VariancePreserving(100).alpha_bar[-1].sqrt()) == pytest.approx(0.60, abs=0.005)


def test_cosine_schedule_has_the_alpha_bar_of_equation_17_but_for_the_last_clipped_step() -> None:
    steps, offset = 1000, 0.008
    chain = VariancePreserving(steps, "cosine")

    def f(t: float) -> float:
        return math.cos((t / steps + offset) / (1 + offset) * math.pi / 2) ** 2

    for t in (1, 10, 250, 500, 900, 999):
        assert float(chain.alpha_bar[t]) == pytest.approx(f(t) / f(0), rel=1e-9)
    assert chain.betas[-1] == 0.999


def test_a_rescaled_linear_schedule_leaves_as_little_of_the_image_at_any_length() -> None:
    end = [
        float(VariancePreserving(steps, rescale=True).alpha_bar[-1].log()) for steps in (100, 4000)
    ]
    assert end[0] == pytest.approx(end[1], rel=0.1)
    assert VariancePreserving(1000, rescale=True).betas[-1] == 0.02


@pytest.mark.parametrize("t", [1, 250, 500, 999])
def test_sigmoid_schedule_is_that_of_jabri_2022(t: int) -> None:
    def curve(u: float) -> float:
        return 1 / (1 + math.exp(-(6 * u - 3)))

    wanted = (curve(1) - curve(t / 1000)) / (curve(1) - curve(0))
    got = VariancePreserving(1000, "sigmoid").alpha_bar[t]
    assert float(got) == pytest.approx(wanted, rel=1e-9)


def test_zero_terminal_snr_is_algorithm_1_of_lin_2023() -> None:
    plain, shifted = VariancePreserving(1000), VariancePreserving(1000, zero_terminal_snr=True)
    assert shifted.alpha_bar[-1] == 0 and shifted.betas[-1] == 1
    assert float(shifted.alpha_bar[1]) == pytest.approx(float(plain.alpha_bar[1]), rel=1e-12)
    torch.testing.assert_close(torch.cumprod(1 - shifted.betas, 0), shifted.alpha_bar[1:])
    module = pytest.importorskip("diffusers.schedulers.scheduling_ddim")
    theirs = module.rescale_zero_terminal_snr(plain.betas)
    torch.testing.assert_close(shifted.betas, theirs)


@pytest.mark.parametrize(
    ("ours", "theirs"), [("linear", "linear"), ("cosine", "squaredcos_cap_v2")]
)
def test_alpha_bar_is_that_of_diffusers(ours: str, theirs: str) -> None:
    ddpm = pytest.importorskip("diffusers.schedulers.scheduling_ddpm")
    other = ddpm.DDPMScheduler(1000, beta_start=1e-4, beta_end=0.02, beta_schedule=theirs)
    torch.testing.assert_close(
        VariancePreserving(1000, ours).alpha_bar[1:].float(), other.alphas_cumprod,
        rtol=2e-4, atol=1e-9,
    )  # fmt: skip


@pytest.mark.parametrize("family", ["linear", "cosine", "sigmoid", "zero_snr"])
def test_variance_is_preserved(family: str) -> None:
    chain = SCHEDULES[family]
    t = torch.arange(1001)
    torch.testing.assert_close(
        chain.alpha(t) ** 2 + chain.sigma(t) ** 2, torch.ones(1001, dtype=torch.float64)
    )


@pytest.mark.parametrize("family", SCHEDULES)
def test_noise_rises_with_t_from_a_clean_image(family: str) -> None:
    schedule = SCHEDULES[family]
    t = torch.linspace(0, schedule.t_max, 1001, dtype=torch.float64)
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    assert alpha.dtype == sigma.dtype == torch.float64
    assert alpha[0] == 1 and sigma[0] == 0
    assert (sigma.diff() > 0).all() and (alpha.diff() <= 0).all()
    assert float(sigma[-1]) == pytest.approx(schedule.prior_std, rel=1e-4)


@pytest.mark.parametrize("family", SCHEDULES)
def test_drift_is_the_rate_of_x_in_the_clock_of_the_schedule(family: str) -> None:
    """Between neighbouring times x moves by drift(middle) x clock, up to third order."""
    schedule = SCHEDULES[family]
    x0, eps = torch.tensor(0.7, dtype=torch.float64), torch.tensor(-1.3, dtype=torch.float64)
    before, now, after = (
        torch.tensor(t, dtype=torch.float64)
        for t in ((499.0, 500.0, 501.0) if schedule.discrete else (0.3999, 0.4, 0.4001))
    )

    def x(t: torch.Tensor) -> torch.Tensor:
        return schedule.alpha(t) * x0 + schedule.sigma(t) * eps

    length = schedule.clock(after) - schedule.clock(before)
    measured = (x(after) - x(before)) / length
    torch.testing.assert_close(schedule.drift(x0, eps, now), measured, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("family", SCHEDULES)
def test_time_of_inverts_the_log_ratio_of_noise_to_signal(family: str) -> None:
    schedule = SCHEDULES[family]
    u = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    t = schedule.quantile(u)
    log_ratio = torch.log(schedule.sigma(t) / schedule.alpha(t))
    # A chain has whole steps: a hair less than the level of step t is reached by t, not before.
    torch.testing.assert_close(schedule.time_of(log_ratio - 1e-9), t, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("family", SCHEDULES)
def test_times_are_held_inside_the_family(family: str) -> None:
    schedule = SCHEDULES[family]
    extreme = torch.tensor([-100.0, 100.0], dtype=torch.float64)
    low, high = schedule.time_of(extreme).tolist()
    assert 0 < low < high == pytest.approx(schedule.t_max)
    ends = schedule.quantile(torch.tensor([0.0, 1.0], dtype=torch.float64)).tolist()
    assert ends == pytest.approx([low, high])
    assert math.isfinite(float(schedule.conditioning(torch.tensor(low))))


def test_networks_are_told_times_from_0_as_the_published_ones() -> None:
    t = torch.tensor([1.0, 2.0, 1000.0])
    assert VariancePreserving(1000).conditioning(t).tolist() == [0, 1, 999]
    assert LinearPath().conditioning(torch.tensor([0.25])).tolist() == [250]
    # c_noise = ln(sigma) / 4 of EDM's table 1, on the scale of the embedding
    sigma = torch.tensor([0.5])
    assert VarianceExploding().conditioning(sigma).tolist() == pytest.approx(
        [1000 * math.log(0.5) / 4]
    )


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: VariancePreserving(0), "got 0"),
        (lambda: cosine_betas(-1), "got -1"),
        (lambda: VariancePreserving(10, "quadratic"), "'quadratic'; known: linear, cosine, sig"),
        (lambda: VariancePreserving(10, "cosine", rescale=True), "not of 'cosine'"),
        (lambda: VariancePreserving(1, zero_terminal_snr=True), "2 steps or more, got 1"),
        (lambda: VariancePreserving(10, rescale=True), "0.01 and 2.0"),
        (lambda: linear_betas(10, 0.02, 1e-4), "0.02 and 0.0001"),
        (lambda: linear_betas(10, 0.0, 0.02), "0.0 and 0.02"),
        (lambda: linear_betas(10, 0.1, 1.0), "0.1 and 1.0"),
        (lambda: VarianceExploding(1.0, 0.5), "1.0 and 0.5"),
        (lambda: VarianceExploding(0.0, 0.5), "0.0 and 0.5"),
    ],
)
def test_a_wrong_schedule_is_refused_with_its_values(make: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()  # type: ignore[operator]
