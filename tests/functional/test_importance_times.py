from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch import Tensor

from functional.importance_times import ImportanceTimes
from functional.noise_schedule import LinearPath, NoiseSchedule, VariancePreserving
from functional.time_sampling import Drawn

CPU = torch.device("cpu")


def filled(bins: int, losses: Tensor, **settings: float) -> ImportanceTimes:
    """A sampler whose history says that the loss in share i is ``losses[i]``."""
    times = ImportanceTimes(bins, history=2, **settings)  # type: ignore[arg-type]
    every = torch.arange(bins).repeat(2)
    times.observe(Drawn(every.double(), None, every), losses.repeat(2))
    return times


def test_times_are_uniform_until_every_share_has_its_history() -> None:
    times = ImportanceTimes(bins=4, history=2)
    bins = torch.tensor([0, 0, 1, 1, 2, 2, 3])
    times.observe(Drawn(bins.double(), None, bins), torch.arange(7.0))
    assert times.probabilities().tolist() == [0.25] * 4
    assert (times.draw(100, VariancePreserving(4), CPU).weight == 1).all()
    one = torch.tensor([3])
    times.observe(Drawn(one.double(), None, one), torch.ones(1))
    assert times.probabilities().tolist() != [0.25] * 4


def test_shares_are_drawn_in_proportion_to_the_root_of_the_second_moment() -> None:
    losses = torch.tensor([1.0, 4.0, 2.0, 0.5])
    times = filled(4, losses, uniform=1e-9)
    torch.testing.assert_close(times.probabilities(), (losses / losses.sum()).double())
    torch.manual_seed(0)
    t = times.draw(20_000, VariancePreserving(4), CPU).t
    counts = torch.bincount(t.long(), minlength=5)[1:]
    assert stats.chisquare(counts.numpy(), (losses.double() / 7.5 * 20_000).numpy()).pvalue > 1e-3


@pytest.mark.parametrize("schedule", [VariancePreserving(40), LinearPath()])
@pytest.mark.parametrize("stratified", [False, True])
def test_the_weighted_mean_is_the_mean_over_uniform_times(
    schedule: NoiseSchedule, stratified: bool
) -> None:
    times = filled(8, torch.tensor([9.0, 1, 1, 1, 2, 1, 1, 1]), stratified=stratified)
    torch.manual_seed(0)
    drawn = times.draw(200_000, schedule, CPU)
    assert drawn.weight is not None
    f = (drawn.t / schedule.t_max) ** 2
    every = schedule.quantile((torch.arange(40_000).double() + 0.5) / 40_000)
    wanted = float(((every / schedule.t_max) ** 2).mean())
    assert float((drawn.weight * f).mean()) == pytest.approx(wanted, rel=0.02)
    assert float(f.mean()) < 0.75 * wanted


def test_the_weighted_loss_varies_less_where_the_history_is_right() -> None:
    schedule = VariancePreserving(50)
    loss = torch.linspace(0.05, 1, 50).double() ** -2
    times = filled(50, loss.float())
    torch.manual_seed(0)

    def batch_mean(sampler: ImportanceTimes) -> Tensor:
        drawn = sampler.draw(32, schedule, CPU)
        assert drawn.weight is not None
        return (drawn.weight * loss[drawn.t.long() - 1]).mean()

    plain = torch.stack([batch_mean(ImportanceTimes(50)) for _ in range(300)])
    wise = torch.stack([batch_mean(times) for _ in range(300)])
    assert float(wise.mean()) == pytest.approx(float(loss.mean()), rel=0.02)
    assert wise.var() < plain.var() / 50


def test_the_history_is_the_last_losses_of_each_share_in_their_order() -> None:
    """Against a list per share, also where a batch has more of a share than its history holds."""
    torch.manual_seed(0)
    times, lists = ImportanceTimes(5, history=3), [[] for _ in range(5)]
    for _ in range(20):
        bins, losses = torch.randint(5, (12,)) // 2 * 2, torch.rand(12)
        times.observe(Drawn(bins.double(), None, bins), losses)
        for b, loss in zip(bins.tolist(), losses.tolist(), strict=True):
            lists[b].append(loss)
    for row, count, seen in zip(times.losses, times.counts, lists, strict=True):
        assert int(count) == len(seen)
        wanted = seen[-3:] if seen else [0.0] * 3
        assert sorted(row.tolist()) == pytest.approx(sorted(wanted))


def test_the_history_is_in_the_state_and_comes_back() -> None:
    times = filled(4, torch.tensor([1.0, 2, 3, 4]))
    other = ImportanceTimes(4, history=2)
    other.load_state_dict(times.state_dict())
    assert torch.equal(other.probabilities(), times.probabilities())
    torch.manual_seed(3)
    one = times.draw(9, LinearPath(), CPU)
    torch.manual_seed(3)
    assert torch.equal(one.t, other.draw(9, LinearPath(), CPU).t)


def test_losses_that_are_all_zero_leave_times_uniform() -> None:
    assert filled(4, torch.zeros(4)).probabilities().tolist() == [0.25] * 4


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="bins=0"):
        ImportanceTimes(0)
    with pytest.raises(ValueError, match="uniform=0"):
        ImportanceTimes(4, uniform=0)
    with pytest.raises(ValueError, match="3 bins do not divide the 1000 steps"):
        ImportanceTimes(3).check(VariancePreserving(1000))
    ImportanceTimes(3).check(LinearPath())
