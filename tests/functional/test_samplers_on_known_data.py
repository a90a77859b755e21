"""Every sampler, schedule, spacing and prediction on two modes, whose exact law is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from functional.denoising_model import DenoisingModel, ModelDenoiser
from functional.diffusion import PREDICTIONS, levels, q_sample, x0_gain
from functional.noise_schedule import NoiseSchedule
from functional.objective import Objective
from functional.oracle import BestDenoiser, Mixture
from functional.samplers import SAMPLERS
from functional.time_grid import SPACINGS, time_grid
from tests.functional.gaussian_data import MEAN, SCHEDULES, STD
from tests.functional.known_data import (
    TWO_MODES,
    KnowingNetwork,
    distance,
    draw,
    off_the_flow,
    start_of,
)

OPTIONS: dict[str, dict[str, Any]] = {
    **{name: {} for name in SAMPLERS},
    "ancestral, small": {"sampler": "ancestral", "variance": "fixed_small"},
    "ancestral, learnt": {"sampler": "ancestral", "variance": "learnt"},
    "ddim, eta 1": {"sampler": "ddim", "eta": 1.0},
}
# Equal steps of sigma from 80 to 0.002 hardly visit the levels at which an image is decided.
PAIRS = [
    (family, spacing)
    for family in SCHEDULES
    for spacing in (("quadratic", "karras") if family == "exploding" else SPACINGS)
]


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize(("family", "spacing"), PAIRS)
def test_samples_converge_to_the_data(family: str, spacing: str, name: str) -> None:
    options = dict(OPTIONS[name])
    sampler = options.pop("sampler", name)
    coarse, fine = (
        distance(draw(SCHEDULES[family], sampler, steps, spacing, **options)) for steps in (6, 64)
    )
    # 512 independent draws are 0.02 from their own law; a first-order step of 1/64 adds as much.
    rough = (family, spacing) == ("exploding", "quadratic")
    assert fine < (0.1 if rough else 0.06)
    assert fine < max(0.7 * coarse, 0.04)


FIRST = ("euler", "ddim")
SECOND = ("heun", "adams_bashforth", "dpm_solver_pp")


@pytest.mark.parametrize("sampler", [*FIRST, *SECOND])
@pytest.mark.parametrize(
    ("family", "spacing"), [("path", "quadratic"), ("path", "karras"), ("exploding", "karras")]
)
def test_a_sampler_follows_the_exact_flow_at_its_order(
    family: str, spacing: str, sampler: str
) -> None:
    few, many = (off_the_flow(SCHEDULES[family], sampler, k, spacing) for k in (64, 128))
    gain = few / many
    # Two-step methods begin with an Euler step, the longest one on a grid from sigma 80.
    least = 2.3 if (family, sampler) == ("exploding", "adams_bashforth") else 3.2
    assert gain == pytest.approx(2, abs=0.3) if sampler in FIRST else gain > least


# The true variance of a step makes the chain exact where the data are Gaussian


@pytest.mark.parametrize("steps", [1, 2, 5, 40])
@pytest.mark.parametrize("family", ["path", "zero_snr"])
def test_with_the_true_variance_any_number_of_steps_has_the_moments_of_the_data(
    family: str, steps: int
) -> None:
    schedule = SCHEDULES[family]
    data = Mixture(torch.ones(1), torch.full((1, 1, 1, 1), MEAN), torch.tensor([STD]))
    times = time_grid(schedule, steps)
    # The last step adds no noise: its spread is what is left of the data's in the step before.
    left = 1 - float(schedule.sigma(times[-2]) ** 2 * _remaining(schedule, float(times[-2])))
    x = torch.zeros(steps + 1, 1, 1, 1, dtype=torch.float64)
    x[1] = schedule.prior_std
    drawn = 1

    def impulse(*shape: int) -> torch.Tensor:
        nonlocal drawn
        drawn += 1
        noise = torch.zeros(steps + 1, *shape, dtype=torch.float64)
        noise[drawn] = 1
        return noise

    out = SAMPLERS["ancestral"](
        BestDenoiser(data, schedule, times), x, times, schedule, impulse, variance="learnt"
    ).flatten()
    assert float(out[0]) == pytest.approx(MEAN, abs=1e-6)
    spread = float((out[1:] - out[0]).square().sum())
    assert spread == pytest.approx(STD**2 * left, rel=1e-6, abs=1e-9)


def _remaining(schedule: NoiseSchedule, t: float) -> torch.Tensor:
    at = torch.tensor(t, dtype=torch.float64)
    return 1 / (schedule.alpha(at) ** 2 * STD**2 + schedule.sigma(at) ** 2)


# Predictions

COMBINATIONS = [
    (family, prediction)
    for family in SCHEDULES
    for prediction in PREDICTIONS
    if (prediction == "edm") == (family == "exploding")
    and not (prediction == "eps" and family in ("path", "zero_snr"))
]


def model(family: str, prediction: str) -> DenoisingModel:
    schedule = SCHEDULES[family]
    network = KnowingNetwork(TWO_MODES, schedule, prediction)
    return DenoisingModel(network, schedule, prediction, Objective(), clip=False)


@pytest.mark.parametrize(("family", "prediction"), COMBINATIONS)
def test_a_network_that_outputs_the_best_of_its_kind_is_the_best_denoiser(
    family: str, prediction: str
) -> None:
    schedule = SCHEDULES[family]
    for u in (0.02, 0.3, 0.6, 0.98):
        t = schedule.quantile(torch.tensor(u, dtype=torch.float64))
        x = q_sample(TWO_MODES.draw(16), torch.randn(16, 1, 1, 1).double(), t, schedule)
        got, _ = model(family, prediction).estimate(x, t)
        wanted = BestDenoiser(TWO_MODES, schedule)(x, t)
        torch.testing.assert_close(got.double(), wanted, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize(("family", "prediction"), COMBINATIONS)
def test_such_a_network_samples_the_data(family: str, prediction: str) -> None:
    schedule, n = SCHEDULES[family], 64
    denoiser = ModelDenoiser(model(family, prediction), None, torch.enable_grad)
    times = time_grid(schedule, 32, "karras")
    out = SAMPLERS["dpm_solver_pp"](
        denoiser, start_of(schedule, n).float(), times, schedule, lambda *_: torch.zeros(1)
    )
    assert distance(out) < 0.03


@pytest.mark.parametrize(("family", "prediction"), COMBINATIONS)
def test_its_loss_is_what_no_network_can_know(family: str, prediction: str) -> None:
    """The mean of Var[x_0 | x_t], on the scale of the output."""
    schedule, n = SCHEDULES[family], 2000
    generator = torch.Generator().manual_seed(0)
    t = schedule.quantile(torch.full((n,), 0.5, dtype=torch.float64))
    x0 = TWO_MODES.draw(n, generator)
    eps = torch.randn(n, 1, 1, 1, generator=generator, dtype=torch.float64)
    alpha, sigma = levels(schedule, t[0], x0)
    left = TWO_MODES.variance(q_sample(x0, eps, t, schedule), alpha, sigma)
    wanted = float(left.mean() / x0_gain(prediction, alpha, sigma) ** 2)
    losses = model(family, prediction).loss(x0, eps, t)
    assert float(losses.mean()) == pytest.approx(wanted, rel=0.15)
