"""Every sampler against data N(m, s^2), whose best denoiser is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from functional.noise_schedule import LinearPath, NoiseSchedule, VarianceExploding
from functional.samplers import SAMPLERS, evaluations
from functional.time_grid import SPACINGS, time_grid
from tests.functional.gaussian_data import (
    MEAN,
    SCHEDULES,
    STD,
    best_denoiser,
    error,
    flow_error,
    moments,
)

# name, options, largest error at 256 steps
METHODS: list[tuple[str, dict[str, Any], float]] = [
    ("ancestral", {"variance": "fixed_small"}, 0.02),
    ("ancestral", {"variance": "fixed_large"}, 0.02),
    ("ddim", {"eta": 1.0}, 0.02),
    ("ddim", {"eta": 0.0}, 0.01),
    ("euler", {}, 0.01),
    ("heun", {}, 0.004),
    ("adams_bashforth", {}, 0.004),
    ("dpm_solver_pp", {}, 0.004),
    ("dpm_solver_pp_sde", {}, 0.015),
    ("heun", {"churn": 20.0, "churn_max": 2.0}, 0.02),
]
# Equal steps of sigma from 80 to 0.002 hardly visit the levels at which an image is decided.
PAIRS = [
    (name, spacing)
    for name in SCHEDULES
    for spacing in (("quadratic", "karras") if name == "exploding" else SPACINGS)
]


@pytest.mark.parametrize(("name", "options", "tolerance"), METHODS)
@pytest.mark.parametrize(("family", "spacing"), PAIRS)
def test_sampler_converges_to_the_mean_and_variance_of_the_data(
    family: str, spacing: str, name: str, options: dict[str, Any], tolerance: float
) -> None:
    schedule = SCHEDULES[family]
    coarse, fine = (error(schedule, name, steps, spacing, **options) for steps in (8, 256))
    if (family, spacing) in (("exploding", "quadratic"), ("sigmoid", "leading")):
        # Long steps where an image is decided: the same order, a larger constant.
        tolerance *= 3
    assert fine < tolerance
    # The image that is left at the last time stays as an error, however many steps there are.
    assert fine < max(coarse / 3, 1e-3)


@pytest.mark.parametrize(
    ("family", "spacing"), [("path", "quadratic"), ("path", "karras"), ("exploding", "karras")]
)
def test_second_order_samplers_gain_four_times_from_twice_the_steps_first_order_ones_two(
    family: str, spacing: str
) -> None:
    def gain(sampler: str) -> float:
        return flow_error(SCHEDULES[family], sampler, 128, spacing) / flow_error(
            SCHEDULES[family], sampler, 256, spacing
        )

    assert gain("euler") == pytest.approx(2, abs=0.2)
    assert gain("ddim") == pytest.approx(2, abs=0.2)
    assert gain("heun") > 3.5
    assert gain("adams_bashforth") > 3.5
    assert gain("dpm_solver_pp") > 3.5


@pytest.mark.parametrize("family", ["linear", "cosine"])
def test_all_steps_of_the_chain_reproduce_the_data_within_a_percent(family: str) -> None:
    mean, std = moments(SCHEDULES[family], "ancestral", 1000, "trailing", variance="fixed_large")
    assert mean == pytest.approx(MEAN, abs=1e-5)
    assert std == pytest.approx(STD, rel=0.01)


def seeded_noise(seed: int) -> Any:
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(16, *shape, generator=generator, dtype=torch.float64)

    return noise


@pytest.mark.parametrize("family", ["linear", "cosine", "path"])
@pytest.mark.parametrize("steps", [20, 1000])
def test_ddim_of_eta_1_is_ancestral_sampling_with_the_small_variance(
    family: str, steps: int
) -> None:
    schedule = SCHEDULES[family]
    times = time_grid(schedule, steps)
    start = seeded_noise(0)(1, 1, 1)
    drawn = [
        SAMPLERS[name](best_denoiser(schedule), start, times, schedule, seeded_noise(1), **options)
        for name, options in (("ddim", {"eta": 1.0}), ("ancestral", {"variance": "fixed_small"}))
    ]
    torch.testing.assert_close(drawn[0], drawn[1], rtol=1e-9, atol=1e-9)


def test_euler_on_the_linear_path_and_on_edms_family_is_ddim() -> None:
    for schedule in (LinearPath(), VarianceExploding()):
        times = time_grid(schedule, 10, "karras")
        start = schedule.prior_std * seeded_noise(0)(1, 1, 1)
        denoiser = best_denoiser(schedule)
        one, other = (
            SAMPLERS[name](denoiser, start, times, schedule, seeded_noise(1))
            for name in ("euler", "ddim")
        )
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_evaluations_are_what_the_sampler_calls_and_the_trace_sees_every_step(
    name: str, schedule: NoiseSchedule
) -> None:
    calls, seen = [], []
    denoiser = best_denoiser(schedule)

    def counting(x: Tensor, t: Tensor) -> Tensor:
        assert t.ndim == 0 and t.dtype == torch.float64 and t > 0
        calls.append(float(t))
        return denoiser(x, t)

    times = time_grid(schedule, 7)
    x = schedule.prior_std * torch.randn(2, 1, 2, 2)
    out = SAMPLERS[name](
        counting,
        x,
        times,
        schedule,
        lambda *shape: torch.randn(2, *shape),
        trace=lambda k, x_t, x0: seen.append((k, x_t.shape, x0.shape)),
    )
    assert len(calls) == evaluations(name, 7)
    assert seen == [(k, x.shape, x.shape) for k in range(7)]
    assert out.shape == x.shape and out.dtype == torch.float32
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("name", ["ddim", "euler", "heun", "adams_bashforth", "dpm_solver_pp"])
def test_deterministic_samplers_draw_no_noise(name: str) -> None:
    def refuse(*shape: int) -> Tensor:
        raise AssertionError("noise was drawn")

    schedule = LinearPath()
    x = torch.randn(2, 1, 2, 2)
    SAMPLERS[name](best_denoiser(schedule), x, time_grid(schedule, 4), schedule, refuse)


# Adams-Bashforth extrapolates in its last step as well.
@pytest.mark.parametrize("name", sorted(SAMPLERS.keys() - {"adams_bashforth"}))
def test_the_last_step_ends_on_the_last_estimate_of_the_image(name: str) -> None:
    for schedule in SCHEDULES.values():
        seen: list[Tensor] = []
        out = SAMPLERS[name](
            best_denoiser(schedule),
            schedule.prior_std * torch.randn(4, 1, 2, 2),
            time_grid(schedule, 6),
            schedule,
            lambda *shape: torch.randn(4, *shape),
            trace=lambda k, x_t, x0, seen=seen: seen.append(x0),
        )
        torch.testing.assert_close(out, seen[-1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("ancestral", {"variance": "learned"}, "'learned'.*fixed_small, fixed_large"),
        ("ddim", {"eta": -0.5}, "-0.5"),
    ],
)
def test_bad_option_of_a_sampler_is_named(name: str, options: dict[str, Any], words: str) -> None:
    schedule = LinearPath()
    with pytest.raises(ValueError, match=words):
        SAMPLERS[name](
            best_denoiser(schedule),
            torch.zeros(1, 1, 1, 1),
            time_grid(schedule, 2),
            schedule,
            seeded_noise(0),
            **options,
        )
