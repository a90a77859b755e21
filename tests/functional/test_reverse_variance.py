from __future__ import annotations

import pytest
import torch

from functional.diffusion import posterior
from functional.noise_schedule import VariancePreserving
from functional.reverse_variance import LogVariances, log_variance, step_log_variances
from functional.time_grid import time_grid
from tests.functional.gaussian_data import SCHEDULES


@pytest.mark.parametrize("family", SCHEDULES)
def test_the_small_end_is_the_posteriors_and_the_large_end_the_steps_own(family: str) -> None:
    schedule = SCHEDULES[family]
    times = time_grid(schedule, 9, "karras")
    ends = step_log_variances(schedule, times)
    x = torch.zeros((), dtype=torch.float64)
    for k in range(8):
        got = posterior(x, x, times[k], times[k + 1], schedule).variance
        torch.testing.assert_close(ends.small[k].exp(), got)
    assert (ends.large >= ends.small).all() and ends.small.isfinite().all()
    assert float(ends.small[8]) == float(ends.small[7])


def test_all_steps_of_a_chain_have_its_betas() -> None:
    chain = VariancePreserving(50, "cosine")
    ends = step_log_variances(chain, torch.arange(50, -1, -1, dtype=torch.float64))
    torch.testing.assert_close(ends.large.exp().flip(0), chain.betas)


def test_a_chain_of_one_step_has_one_variance() -> None:
    ends = step_log_variances(VariancePreserving(10), torch.tensor([10.0, 0.0]).double())
    assert ends.small == ends.large


def test_a_learnt_variance_lies_between_the_ends_in_log_space() -> None:
    ends = LogVariances(torch.tensor(0.01).log(), torch.tensor(0.04).log())
    fraction = torch.tensor([-1.0, 0.0, 1.0])
    got = log_variance("learnt", ends, fraction).exp()
    torch.testing.assert_close(got, torch.tensor([0.01, 0.02, 0.04]))
    assert log_variance("fixed_small", ends) == ends.small
    assert log_variance("fixed_large", ends) == ends.large


def test_what_gives_no_variance_is_refused() -> None:
    ends = LogVariances(torch.zeros(1), torch.zeros(1))
    with pytest.raises(ValueError, match="'learned'; known: fixed_small, fixed_large, learnt"):
        log_variance("learned", ends)
    with pytest.raises(ValueError, match="got none"):
        log_variance("learnt", ends)
