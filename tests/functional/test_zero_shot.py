"""Restorers under the best denoiser of Gaussian data, whose posterior is known in closed form."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from functional.degradation import Blur, Downsample, Grey
from functional.linear_operators import Identity
from functional.masking import MaskOperator
from functional.measured_step import start
from functional.noise_schedule import NoiseSchedule
from functional.oracle import BestDenoiser, Gaussian
from functional.seeding import ImageNoise
from functional.time_grid import time_grid
from functional.variation import times_below
from functional.zero_shot import RESTORERS, course, restorer_evaluations, settled_time
from tests.functional.gaussian_data import SCHEDULES

SHAPE, SIZE, STD = (3, 2, 2), 12, 0.5
HALF = torch.tensor([[True, True], [False, False]]).view(1, 1, 2, 2)
OPERATORS: dict[str, Any] = {
    "mask": MaskOperator("half", HALF, -1.0),
    "grey": Grey(),
    "down-sampling": Downsample(2),
    "blur": Blur(0.6),
    "noise alone": Identity(),
}
FAMILIES = ("path", "linear", "exploding")


def independent() -> Gaussian:
    mean = torch.linspace(-0.5, 0.5, SIZE).view(SHAPE)
    return Gaussian(mean, STD**2 * torch.eye(SIZE))


def correlated() -> Gaussian:
    place = torch.arange(SIZE).double()
    correlation = torch.exp(-(place[:, None] - place).abs() / 4)
    return Gaussian(independent().mean, STD**2 * correlation)


def linear_part(operator: Any) -> Tensor:
    """The matrix of A, without what stands at masked pixels."""
    impulses = torch.eye(SIZE, dtype=torch.float64).view(SIZE, *SHAPE)
    return (operator.apply(impulses) - operator.apply(0 * impulses)).flatten(1).T


class Case:
    """A measurement of Gaussian data, and the moments of what a restorer makes of it."""

    def __init__(self, data: Gaussian, operator: Any, family: str, std: float, steps: int) -> None:
        self.data, self.operator, self.std = data, operator, std
        self.schedule: NoiseSchedule = SCHEDULES[family]
        self.times = time_grid(
            self.schedule, steps, "karras" if family == "exploding" else "trailing"
        )
        generator = torch.Generator().manual_seed(1)
        drawn, noise = torch.randn(2, SIZE, generator=generator, dtype=torch.float64)
        x = data.mean.flatten() + torch.linalg.cholesky(data.covariance) @ drawn
        self.y = operator.apply(x.view(1, *SHAPE)) + std * noise.view(1, *SHAPE)
        offset = operator.apply(torch.zeros(1, *SHAPE, dtype=torch.float64))
        self.mean, self.covariance = data.posterior(
            linear_part(operator), (self.y - offset).flatten(), std
        )

    def restore(self, name: str, n: int, noise: Any, **options: Any) -> Tensor:
        return RESTORERS[name](
            BestDenoiser(self.data, self.schedule), self.y.expand(n, *SHAPE), self.operator,
            self.times, self.schedule, noise,
            torch.full((n, 1, 1, 1), self.std, dtype=torch.float64), **options,
        )  # fmt: skip

    def moments(self, name: str, **options: Any) -> tuple[Tensor, Tensor]:
        """Mean and covariance of the outputs, exact: row 0 has no noise, the others one impulse."""
        draws = 0

        def count(*shape: int) -> Tensor:
            nonlocal draws
            draws += 1
            return torch.zeros(1, *shape, dtype=torch.float64)

        self.restore(name, 1, count, **options)
        rows, draws = 1 + draws * SIZE, 0

        def impulses(*shape: int) -> Tensor:
            nonlocal draws
            noise = torch.zeros(rows, SIZE, dtype=torch.float64)
            noise[1 + draws * SIZE : 1 + (draws + 1) * SIZE] = torch.eye(SIZE)
            draws += 1
            return noise.view(rows, *shape)

        out = self.restore(name, rows, impulses, **options).flatten(1)
        return out[0], (out[1:] - out[0]).T @ (out[1:] - out[0])

    def mean_error(self, name: str, **options: Any) -> float:
        """Largest difference of the outputs' mean, that without any noise, from the posterior's."""
        out = self.restore(name, 1, lambda *shape: torch.zeros(1, *shape).double(), **options)
        return float((out.flatten() - self.mean).abs().max())

    def errors(self, name: str, **options: Any) -> tuple[float, float]:
        """Largest difference from the posterior's mean, and from its covariance."""
        mean, covariance = self.moments(name, **options)
        off = (covariance - self.covariance).abs().max()
        return float((mean - self.mean).abs().max()), float(off)


@pytest.mark.parametrize("std", [0.0, 0.3])
@pytest.mark.parametrize("operator", OPERATORS)
def test_of_independent_pixels_the_posterior_is_drawn(operator: str, std: float) -> None:
    """A chain of the posterior's variances falls short of the data's by a share of its steps."""
    if operator == "noise alone" and not std:
        return
    mean, covariance = Case(independent(), OPERATORS[operator], "path", std, 12).errors("ddnm")
    assert mean < 0.05 and covariance < 0.1


@pytest.mark.parametrize("name", ["ddnm", "pigdm"])
def test_the_more_steps_the_nearer_is_the_posterior(name: str) -> None:
    errors = [Case(independent(), Grey(), "path", 0.3, k).errors(name) for k in (4, 16)]
    assert errors[1][1] < 0.6 * errors[0][1] and errors[1][0] < 0.02


@pytest.mark.parametrize("family", FAMILIES)
def test_on_every_schedule(family: str) -> None:
    for name in ("ddnm", "pigdm"):
        mean, covariance = Case(independent(), Grey(), family, 0.3, 12).errors(name)
        assert mean < 0.1 and covariance < 0.16


@pytest.mark.parametrize("family", ["path", "exploding"])
def test_replacement_misses_what_pixels_say_of_each_other_and_resampling_learns_it(
    family: str,
) -> None:
    case = Case(correlated(), OPERATORS["mask"], family, 0.0, 16)
    alone = case.mean_error("replacement")
    few, many = (case.mean_error("repaint", jump=1, resamples=r) for r in (2, 6))
    assert alone > 0.1 and many < 0.5 * alone and many < few < alone
    assert case.mean_error("ddnm") == pytest.approx(alone)
    assert case.mean_error("pigdm") < 0.5 * alone


def test_noise_that_is_met_again_at_every_step_counts_once() -> None:
    """Going back to more noise would forget what only y knew."""
    case = Case(correlated(), OPERATORS["noise alone"], "path", 0.3, 16)
    case.times = times_below(case.times, settled_time(Identity(), case.schedule, torch.tensor(0.3)))
    once, again = (case.moments("ddnm", jump=1, resamples=r) for r in (1, 3))
    assert torch.equal(once[0], again[0]) and torch.equal(once[1], again[1])
    assert case.errors("ddnm")[0] < 0.02


@pytest.mark.parametrize("family", ["path", "zero_snr"])
@pytest.mark.parametrize("name", ["ddnm", "repaint"])
@pytest.mark.parametrize("operator", ["mask", "grey", "down-sampling", "blur"])
def test_what_was_measured_without_noise_is_measured_of_the_result(
    operator: str, name: str, family: str
) -> None:
    case = Case(correlated(), OPERATORS[operator], family, 0.0, 4)
    out = case.restore(name, 2, ImageNoise([3, 4]))
    torch.testing.assert_close(
        case.operator.apply(out), case.y.expand(2, *SHAPE), atol=1e-6, rtol=0
    )
    if operator == "mask":
        assert torch.equal(case.operator.apply(out), case.y.expand(2, *SHAPE))
    assert operator == "blur" or not torch.equal(out[0], out[1])


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_of_dps_bring_the_result_near_what_was_measured(family: str) -> None:
    case = Case(correlated(), Downsample(2), family, 0.0, 20)

    def apart(scale: float) -> float:
        out = case.restore("dps", 4, ImageNoise(range(4)), scale=scale)
        return float((Downsample(2).apply(out) - case.y).square().mean().sqrt())

    assert apart(0.25) < 0.6 * apart(0.0)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_estimate_is_the_posterior_mean_of_noisy_images(family: str) -> None:
    case = Case(correlated(), Identity(), family, 0.3, 1)
    out = case.restore("estimate", 2, ImageNoise([0, 1]))
    # A chain has no time of exactly that level.
    assert float((out[0].flatten() - case.mean).abs().max()) < (
        0.01 if family == "linear" else 1e-6
    )
    with pytest.raises(ValueError, match="images with noise alone, not of Grey"):
        Case(correlated(), Grey(), family, 0.3, 1).restore("estimate", 1, ImageNoise([0]))


@pytest.mark.parametrize("name", ["ddnm", "repaint", "pigdm", "dps"])
def test_an_image_is_of_its_own_seed_alone(name: str) -> None:
    case = Case(correlated(), OPERATORS["mask"], "path", 0.0, 4)
    both, one = case.restore(name, 2, ImageNoise([7, 8])), case.restore(name, 1, ImageNoise([8]))
    torch.testing.assert_close(both[1:], one)


def test_images_of_different_noise_are_restored_side_by_side() -> None:
    case, std = Case(correlated(), Identity(), "path", 0.3, 24), torch.tensor([0.1, 0.6])
    arguments = BestDenoiser(case.data, case.schedule), case.y.expand(2, *SHAPE), Identity()
    times = times_below(case.times, settled_time(Identity(), case.schedule, std))

    def restored(std: Tensor) -> Tensor:
        noise = ImageNoise([1, 2])
        return RESTORERS["ddnm"](
            *arguments, times, case.schedule, noise, std.double().view(2, 1, 1, 1)
        )

    both = restored(std)
    torch.testing.assert_close(both[0], restored(std[:1].expand(2))[0])
    # The less noise, the closer to what was measured.
    off = (both - case.y).square().mean(dim=(1, 2, 3)).sqrt()
    assert off[0] < 0.15 < off[1]


def test_a_course_goes_back_from_every_jumpth_place() -> None:
    times = torch.arange(5, -1, -1)
    places = [int(s) for _, s in course(times, jump=2, resamples=2)]
    assert places == [4, 3, 5, 4, 3, 2, 1, 3, 2, 1, 0]
    assert restorer_evaluations("repaint", times, 0.0, {"jump": 2, "resamples": 2}) == 9
    assert restorer_evaluations("repaint", times, 2.0, {"jump": 2, "resamples": 2}) == 7
    assert restorer_evaluations("ddnm", times, 0.0, {}) == 5
    assert restorer_evaluations("estimate", times, 0.0, {}) == 1
    with pytest.raises(ValueError, match="jump=0, resamples=1"):
        list(course(times, 0, 1))


@pytest.mark.parametrize("family", SCHEDULES)
def test_a_chain_begins_with_what_was_measured_at_every_level_of_noise(family: str) -> None:
    schedule, y = SCHEDULES[family], torch.linspace(-1, 1, 4).view(1, 1, 2, 2)
    for level in range(1, 40):
        std = torch.full((1, 1, 1, 1), level / 20)
        t = settled_time(Identity(), schedule, std)
        if t >= schedule.t_max:
            continue
        state = start(Identity(), y, t, schedule, torch.full_like(y, 100.0), std)
        if schedule.sigma(t) / schedule.alpha(t) < 1.0001 * level / 20:
            torch.testing.assert_close(state, (schedule.alpha(t) * y).float(), atol=2, rtol=0)
