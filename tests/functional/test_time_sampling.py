from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from functional.noise_schedule import LinearPath, VarianceExploding, VariancePreserving
from functional.time_sampling import TimeSampler

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def test_uniform_times_of_a_chain_hit_each_step_equally_often() -> None:
    times = TimeSampler("uniform")(100_000, VariancePreserving(10), CPU)
    assert times.dtype == torch.float64
    counts = torch.bincount(times.long(), minlength=11)[1:]
    assert counts.sum() == 100_000
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_uniform_times_of_the_linear_path_are_uniform() -> None:
    times = TimeSampler("uniform")(20_000, LinearPath(), CPU)
    assert stats.kstest(times.numpy(), "uniform").pvalue > 1e-3


def test_uniform_times_of_edms_family_are_log_uniform_in_sigma() -> None:
    times = TimeSampler("uniform")(20_000, VarianceExploding(0.01, 10.0), CPU)
    log = (times.log() - math.log(0.01)) / math.log(1000)
    assert stats.kstest(log.numpy(), "uniform").pvalue > 1e-3


def test_logit_normal_times_are_those_of_esser_2024_on_the_linear_path() -> None:
    times = TimeSampler("logit_normal", mean=0.5, std=0.8)(20_000, LinearPath(), CPU)
    assert stats.kstest(torch.logit(times).numpy(), "norm", (0.5, 0.8)).pvalue > 1e-3


def test_logit_normal_times_are_p_mean_and_p_std_of_edm() -> None:
    times = TimeSampler("logit_normal", mean=-1.2, std=1.2)(20_000, VarianceExploding(), CPU)
    assert stats.kstest(times.log().numpy(), "norm", (-1.2, 1.2)).pvalue > 1e-3


@pytest.mark.parametrize("distribution", ["uniform", "logit_normal"])
def test_stratified_times_keep_the_mean_and_cut_its_variance(distribution: str) -> None:
    def means(stratified: bool) -> torch.Tensor:
        draw = TimeSampler(distribution, stratified=stratified)
        return torch.stack([draw(64, LinearPath(), CPU).mean() for _ in range(400)])

    plain, cut = means(False), means(True)
    assert float(cut.mean()) == pytest.approx(0.5, abs=5e-4)
    assert float(plain.mean()) == pytest.approx(0.5, abs=5e-3)
    assert cut.var() < plain.var() / 100


def test_stratified_times_have_one_in_each_share() -> None:
    times = TimeSampler("uniform", stratified=True)(32, LinearPath(), CPU)
    assert torch.equal((times * 32).floor(), torch.arange(32.0, dtype=torch.float64))


def test_times_come_from_the_global_generator_alone() -> None:
    draw = TimeSampler("logit_normal")
    torch.manual_seed(7)
    one = draw(8, LinearPath(), CPU)
    torch.manual_seed(7)
    assert torch.equal(one, draw(8, LinearPath(), CPU))
    assert not torch.equal(one, draw(8, LinearPath(), CPU))


def test_a_wrong_distribution_is_named() -> None:
    with pytest.raises(ValueError, match="'lognormal'; known: uniform, logit_normal"):
        TimeSampler("lognormal")
    with pytest.raises(ValueError, match="got 0"):
        TimeSampler("logit_normal", std=0)
