from __future__ import annotations

import pytest
import torch

from functional.oracle import BestDenoiser, Mixture
from functional.samplers import SAMPLERS
from functional.seeding import ImageNoise
from functional.time_grid import time_grid
from functional.variation import ddim_edit, sdedit, times_from
from tests.functional.gaussian_data import SCHEDULES
from tests.functional.known_data import TWO_MODES

FAMILIES = list(SCHEDULES)
IMAGES = torch.linspace(-0.9, 0.9, 64).view(64, 1, 1, 1)


def varied(family: str, strength: float, sampler: str = "dpm_solver_pp") -> torch.Tensor:
    schedule = SCHEDULES[family]
    times = time_grid(schedule, 20, "karras")
    return sdedit(
        SAMPLERS[sampler], BestDenoiser(TWO_MODES, schedule), IMAGES, strength, times, schedule,
        ImageNoise(range(64)),
    )  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_strength_0_is_the_image_and_1_a_plain_sample(family: str) -> None:
    schedule = SCHEDULES[family]
    times, noise = time_grid(schedule, 20, "karras"), ImageNoise(range(64))
    assert torch.equal(varied(family, 0.0), IMAGES)
    x = schedule.prior_std * noise(1, 1, 1)
    plain = SAMPLERS["ancestral"](BestDenoiser(TWO_MODES, schedule), x, times, schedule, noise)
    assert torch.equal(varied(family, 1.0, "ancestral"), plain)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_stronger_the_less_is_kept(family: str) -> None:
    off = [float((varied(family, s) - IMAGES).abs().mean()) for s in (0.1, 0.4, 0.7, 1.0)]
    assert off[0] < 0.12 and off == sorted(off)


@pytest.mark.parametrize("strength", [0.2, 0.6])
def test_a_strength_leaves_the_same_share_of_noise_on_every_schedule(strength: float) -> None:
    for schedule in SCHEDULES.values():
        first = times_from(time_grid(schedule, 10, "karras"), schedule, strength)[0]
        alpha, sigma = schedule.alpha(first), schedule.sigma(first)
        assert float(sigma / (sigma + alpha)) == pytest.approx(strength, abs=0.003)


@pytest.mark.parametrize("strength", [-0.1, 1.5, float("nan")])
def test_a_strength_outside_the_unit_interval_is_refused(strength: float) -> None:
    with pytest.raises(ValueError, match=r"strength=.* lies outside \[0, 1\]"):
        varied("path", strength)


def test_ddim_moves_images_from_one_law_to_another_along_their_quantiles() -> None:
    """In one dimension the flow keeps quantiles, so there and back is the monotone map."""
    schedule, times = SCHEDULES["path"], time_grid(SCHEDULES["path"], 200, "karras")
    other = Mixture(torch.ones(1), torch.full((1, 1, 1, 1), 0.2), torch.tensor([0.1]))
    source, target = (BestDenoiser(data, schedule) for data in (TWO_MODES, other))
    images = TWO_MODES.quantile(torch.tensor([0.1, 0.5, 0.9]).double()).view(3, 1, 1, 1)
    edited = ddim_edit(source, target, images, 1.0, times, schedule)
    wanted = other.quantile(TWO_MODES.cdf(images).flatten()).flatten()
    torch.testing.assert_close(edited.flatten(), wanted, atol=0.05, rtol=0)
    assert torch.equal(ddim_edit(source, target, images, 0.0, times, schedule), images)
    same = ddim_edit(source, source, images, 0.5, times, schedule)
    torch.testing.assert_close(same, images, atol=0.03, rtol=0)
