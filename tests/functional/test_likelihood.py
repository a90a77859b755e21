"""Likelihood by the chain and by the flow against that of data of which everything is known."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from functional.denoising_model import DenoisingModel
from functional.flow_likelihood import flow_bits
from functional.likelihood import ChainLikelihood, chain_likelihood
from functional.model_likelihood import ModelLikelihood
from functional.objective import Objective
from functional.oracle import BestDenoiser, Mixture
from functional.time_grid import time_grid
from tests.functional.gaussian_data import MEAN, SCHEDULES, STD
from tests.functional.known_data import TWO_MODES, KnowingNetwork

GAUSSIAN = Mixture(torch.ones(1), torch.full((1, 1, 1, 1), MEAN), torch.tensor([STD]))
FAMILIES = ["linear", "cosine", "path", "exploding"]
PREDICTIONS = {"linear": "eps", "cosine": "v", "path": "velocity", "exploding": "edm"}


def levels_of(data: Mixture, n: int) -> tuple[Tensor, Tensor]:
    """Images of one number, rounded to 8-bit levels, and the exact bits of each."""
    x0 = data.draw(n, torch.Generator().manual_seed(0)).clamp(-1, 1)
    x0 = ((x0 + 1) * 127.5).round() / 127.5 - 1
    lower = torch.where(x0 < -1 + 1 / 255, -math.inf, x0 - 1 / 255)
    upper = torch.where(x0 > 1 - 1 / 255, math.inf, x0 + 1 / 255)
    return x0, -torch.log2(data.cdf(upper) - data.cdf(lower)).flatten()


def noise_of(n: int, seed: int = 1) -> Any:
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(n, *shape, generator=generator, dtype=torch.float64)


def true_chain(data: Mixture, family: str, steps: int, n: int) -> ChainLikelihood:
    """Of the best denoiser and variance, down to noise of two and a half levels.

    Below, an image tells its level from its noise, and the best denoiser of what is no level loses.
    """
    schedule = SCHEDULES[family]
    times = time_grid(schedule, 2 * steps, "log_snr")[:-1]
    kept = times[schedule.sigma(times) > 0.02 * schedule.alpha(times)]
    picked = torch.linspace(0, len(kept) - 1, steps).round().long()
    times = torch.cat([kept[picked], torch.zeros(1)])
    x0, _ = levels_of(data, n)
    denoiser = BestDenoiser(data, schedule, times)
    return chain_likelihood(denoiser, x0, times, schedule, noise_of(n), "learnt")


def known_model(data: Mixture, family: str, clip: bool = False) -> ModelLikelihood:
    schedule, prediction = SCHEDULES[family], PREDICTIONS[family]
    network = KnowingNetwork(data, schedule, prediction)
    model = DenoisingModel(network, schedule, prediction, Objective(), clip)
    return ModelLikelihood(model, "fixed_small", contextlib.nullcontext)


# The chain


@pytest.mark.parametrize("family", FAMILIES)
def test_the_true_steps_back_give_every_image_its_own_bits(family: str) -> None:
    """Then p(x_0, ..., x_T) = q(x_0, ..., x_T), whatever the path; what is left is that q(x_1 | .)
    is not quite the same all over a level."""
    n = 500
    found, (x0, exact) = true_chain(GAUSSIAN, family, 30, n), levels_of(GAUSSIAN, n)
    # The last level stands for all beyond it, which the best denoiser does not know.
    inside = x0.flatten().abs() < 0.99
    off = (found.chain - exact)[inside]
    assert off.abs().mean() < 0.05
    assert abs(float(off.mean())) < 0.02
    # Of divergences in place of densities, which have the same mean.
    between = (found.bound - found.chain)[inside]
    assert abs(float(between.mean())) < 4 * float(between.std()) / len(between) ** 0.5


@pytest.mark.parametrize("family", FAMILIES)
def test_more_steps_close_the_gap_between_the_bound_and_the_entropy(family: str) -> None:
    n = 2000
    _, exact = levels_of(TWO_MODES, n)
    found = [true_chain(TWO_MODES, family, steps, n) for steps in (4, 12, 50)]
    gaps = [float((each.chain - exact).mean()) for each in found]
    error = float((found[2].chain - exact).std()) / n**0.5
    assert gaps[0] > gaps[1] > gaps[2] > -4 * error
    assert gaps[2] < 0.05 + 4 * error


def test_a_worse_model_has_a_higher_bound() -> None:
    x0, _ = levels_of(TWO_MODES, 300)
    right, wrong = known_model(TWO_MODES, "linear"), known_model(GAUSSIAN, "linear")
    times = right.chain_times(50, "log_snr")
    bounds = [float(m.chain(x0, times, noise_of(300)).bound.mean()) for m in (right, wrong)]
    assert bounds[1] > bounds[0] + 0.1


# The flow


@pytest.mark.parametrize("family", FAMILIES)
def test_the_flow_of_the_best_network_has_the_density_of_the_data(family: str) -> None:
    likelihood = known_model(TWO_MODES, family)
    x = torch.linspace(-0.9, 0.9, 31, dtype=torch.float64).view(-1, 1, 1, 1)
    times = likelihood.flow_times(150)
    got = likelihood.flow(x, times, noise_of(31), dequantisation="none", probes=None)
    sigma = float(SCHEDULES[family].sigma(times[-2]) / SCHEDULES[family].alpha(times[-2]))
    # At the first time of the grid the data already have a little noise.
    wanted = -TWO_MODES.log_density(x, sigma=sigma) / math.log(2)
    torch.testing.assert_close(got, wanted, rtol=0, atol=0.03)


@pytest.mark.parametrize("dequantisation", ["decoder", "uniform"])
@pytest.mark.parametrize("family", FAMILIES)
def test_of_8_bit_images_the_flow_gives_the_entropy(family: str, dequantisation: str) -> None:
    n = 500
    x0, exact = levels_of(TWO_MODES, n)
    likelihood = known_model(TWO_MODES, family)
    times = likelihood.flow_times(100)
    got = likelihood.flow(x0, times, noise_of(n), dequantisation=dequantisation, probes=None)
    error = float((got - exact).std()) / n**0.5
    assert -4 * error < float((got - exact).mean()) < 0.1 + 4 * error


def test_random_vectors_estimate_the_divergence_without_bias() -> None:
    means = torch.tensor([[-0.5, 0.2, 0.1, 0.4], [0.5, -0.3, 0.3, 0.0]]).view(2, 1, 2, 2)
    data = Mixture(torch.tensor([0.4, 0.6]), means, torch.tensor([0.2, 0.3]))
    schedule, n = SCHEDULES["path"], 400
    times, x = time_grid(schedule, 40, "log_snr"), data.draw(n, torch.Generator().manual_seed(2))
    denoiser = BestDenoiser(data, schedule)

    def bits(probes: int | None) -> Tensor:
        return flow_bits(denoiser, x, times, schedule, noise_of(n), "none", probes)

    exact = bits(None)
    wanted = -data.log_density(x) / math.log(2) / 4
    assert float((exact - wanted).abs().mean()) < 0.02
    off = bits(1) - exact
    assert float(off.abs().mean()) > 0.001
    assert abs(float(off.mean())) < 4 * float(off.std()) / n**0.5
    assert float((bits(8) - exact).std()) < 0.6 * float(off.std())


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"dequantisation": "gauss"}, "'gauss'; known: decoder"), ({"probes": 0}, "probes=0")],
)
def test_settings_of_the_flow_that_are_none_are_refused(
    settings: dict[str, Any], words: str
) -> None:
    likelihood = known_model(TWO_MODES, "path")
    with pytest.raises(ValueError, match=words):
        likelihood.flow(torch.zeros(1, 1, 1, 1), likelihood.flow_times(3), noise_of(1), **settings)


def test_a_chain_has_every_step_by_default_and_no_more() -> None:
    assert len(known_model(TWO_MODES, "linear").chain_times()) == 1001
    assert len(known_model(TWO_MODES, "path").chain_times()) == 251
    with pytest.raises(ValueError, match="1001, expected 1 to 1000"):
        known_model(TWO_MODES, "linear").chain_times(1001)
    with pytest.raises(ValueError, match="learns none"):
        known_model(TWO_MODES, "linear").check("learnt")
