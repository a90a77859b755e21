"""Encoding by DDIM leads to noise, and decoding leads back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from functional.inversion import ddim_inversion
from functional.oracle import BestDenoiser
from functional.samplers import ddim
from functional.time_grid import time_grid
from tests.functional.gaussian_data import MEAN, SCHEDULES, STD, best_denoiser
from tests.functional.known_data import TWO_MODES

FAMILIES = list(SCHEDULES)


def no_noise(*shape: int) -> Tensor:
    raise AssertionError("noise was drawn")


@pytest.mark.parametrize("family", FAMILIES)
def test_images_of_gaussian_data_become_the_noise_that_the_exact_flow_says(family: str) -> None:
    """On the flow (x - alpha m) / std(x_t) is constant; the inversion is of first order."""
    schedule = SCHEDULES[family]
    images = MEAN + STD * torch.linspace(-2, 2, 9, dtype=torch.float64).view(9, 1, 1, 1)

    def off(steps: int) -> float:
        times = time_grid(schedule, steps, "karras")
        alpha, sigma = schedule.alpha(times[0]), schedule.sigma(times[0])
        std = (alpha**2 * STD**2 + sigma**2).sqrt()
        wanted = alpha * MEAN + std * (images - MEAN) / STD
        got = ddim_inversion(best_denoiser(schedule), images, times, schedule)
        return float(((got - wanted) / std).abs().max())

    fine = off(200)
    assert fine < 0.4
    assert fine < 0.6 * off(100)


@pytest.mark.parametrize("family", FAMILIES)
def test_encoding_and_decoding_is_a_round_trip_once_iterated(family: str) -> None:
    schedule = SCHEDULES[family]
    times = time_grid(schedule, 20, "karras")
    denoiser = BestDenoiser(TWO_MODES, schedule)
    images = TWO_MODES.draw(50, torch.Generator().manual_seed(0))

    def back(iterations: int) -> float:
        noise = ddim_inversion(denoiser, images, times, schedule, iterations=iterations)
        again = ddim(denoiser, noise, times, schedule, no_noise)
        return float((again - images).abs().mean())

    iterated = back(8)
    assert iterated < 0.01
    assert iterated < back(0) / 2


def test_every_step_is_traced_and_a_negative_number_of_iterations_refused() -> None:
    schedule, seen = SCHEDULES["path"], []
    times = time_grid(schedule, 5)
    image = torch.zeros(1, 1, 1, 1)
    denoiser = best_denoiser(schedule)
    ddim_inversion(denoiser, image, times, schedule, trace=lambda k, x, x0: seen.append(k))
    assert seen == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="iterations=-1"):
        ddim_inversion(denoiser, image, times, schedule, iterations=-1)
