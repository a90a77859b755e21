from __future__ import annotations

import pytest
import torch

from functional.noise_schedule import LinearPath, VarianceExploding, VariancePreserving
from functional.time_grid import SPACINGS, time_grid
from tests.functional.gaussian_data import SCHEDULES


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("family", SCHEDULES)
def test_grid_has_k_strictly_falling_times_and_then_0(family: str, spacing: str) -> None:
    schedule = SCHEDULES[family]
    for steps in (1, 2, 7, 50, 333, 999, 1000):
        grid = time_grid(schedule, steps, spacing)
        assert grid.shape == (steps + 1,) and grid.dtype == torch.float64
        assert grid[-1] == 0 and (grid.diff() < 0).all()
        start = pytest.approx(schedule.t_max, rel=1e-12)
        assert grid[0] == start if spacing != "leading" else grid[0] < schedule.t_max + 1e-9
        if schedule.discrete:
            assert torch.equal(grid, grid.round())


@pytest.mark.parametrize("spacing", SPACINGS)
def test_as_many_steps_as_the_chain_has_visit_each_of_them(spacing: str) -> None:
    for schedule in (VariancePreserving(1000), VariancePreserving(17, "cosine")):
        grid = time_grid(schedule, schedule.steps, spacing)
        assert torch.equal(grid, torch.arange(schedule.steps, -1, -1, dtype=torch.float64))


def test_spacings_of_a_chain_of_1000_at_4_steps() -> None:
    chain = VariancePreserving(1000)
    wanted = {
        "trailing": [1000, 750, 500, 250, 0],
        "leading": [751, 501, 251, 1, 0],
        "linspace": [1000, 667, 334, 1, 0],
        # ((sqrt(1000) k + 1 (3 - k)) / 3)^2 for k = 3, 2, 1, 0
        "quadratic": [1000, 459, 126, 1, 0],
    }
    for spacing, times in wanted.items():
        assert time_grid(chain, 4, spacing).tolist() == times


@pytest.mark.parametrize(("low", "high"), [(0.002, 80.0), (0.002, 500.0), (0.0005, 20.0)])
def test_karras_grid_is_equation_5_of_edm_whatever_its_ends(low: float, high: float) -> None:
    steps, rho = 18, 7
    wanted = [
        (high ** (1 / rho) + i / (steps - 1) * (low ** (1 / rho) - high ** (1 / rho))) ** rho
        for i in range(steps)
    ]
    grid = time_grid(VarianceExploding(low, high), steps, "karras")
    torch.testing.assert_close(grid, torch.tensor([*wanted, 0.0], dtype=torch.float64))


@pytest.mark.parametrize(
    ("steps", "spacing", "words"),
    [
        (0, "trailing", "is 0, expected 1 to 1000"),
        (-3, "trailing", "is -3"),
        (1001, "linspace", "is 1001, expected 1 to 1000"),
        (10, "trailling", "'trailling'.*trailing, leading, linspace, quadratic, karras"),
    ],
)
def test_a_wrong_grid_is_refused_with_its_value(steps: int, spacing: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        time_grid(VariancePreserving(1000), steps, spacing)


def test_a_continuous_path_takes_any_positive_number_of_steps() -> None:
    assert len(time_grid(LinearPath(), 5000)) == 5001
    with pytest.raises(ValueError, match="is 0, expected at least 1"):
        time_grid(LinearPath(), 0)
