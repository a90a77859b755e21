"""Power-function profiles against numerical integration, and one profile from others."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from functional.power_ema import (
    LARGEST,
    Profile,
    decay_of,
    gamma_of,
    misfit,
    mixture_of,
    products,
)


def density(profile: Profile, tau: float) -> float:
    gamma = gamma_of(profile.sigma_rel)
    return (gamma + 1) / profile.t * (tau / profile.t) ** gamma


@pytest.mark.parametrize("sigma_rel", [0.01, 0.05, 0.1, 0.2, LARGEST])
def test_gamma_gives_the_relative_standard_deviation_that_was_asked_for(sigma_rel: float) -> None:
    profile = Profile(sigma_rel, 7.0)
    moments = [lambda tau, k=k: tau**k * density(profile, tau) for k in range(3)]
    mass, mean, square = (quad(moment, 0, 7, points=[6.0])[0] for moment in moments)
    assert mass == pytest.approx(1)
    assert (square - mean**2) ** 0.5 / 7 == pytest.approx(sigma_rel)


def test_the_values_of_the_paper() -> None:
    """Section 3.1: sigma_rel 0.05 and 0.10 are gamma 16.97 and 6.94."""
    assert gamma_of(0.05) == pytest.approx(16.97, abs=0.005)
    assert gamma_of(0.10) == pytest.approx(6.94, abs=0.005)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Profile(0.1, 10), Profile(0.1, 10)),
        (Profile(0.05, 8), Profile(0.1, 10)),
        (Profile(0.2, 10), Profile(0.07, 3)),
    ],
)
def test_products_are_integrals(one: Profile, other: Profile) -> None:
    end = min(one.t, other.t)
    wanted = quad(lambda tau: density(one, tau) * density(other, tau), 0, end)[0]
    assert float(products([one], [other])) == pytest.approx(wanted, rel=1e-6)
    assert float(products([other], [one])) == pytest.approx(wanted, rel=1e-6)


def tracked(steps: int, sigma_rel: float) -> np.ndarray:
    """The weight of each step in the average after each step, by the recursion of the updates."""
    gamma, weights = gamma_of(sigma_rel), np.zeros((steps, steps))
    row = np.zeros(steps)
    for t in range(1, steps + 1):
        keep = decay_of(gamma, t)
        row = keep * row
        row[t - 1] += 1 - keep
        weights[t - 1] = row
    return weights


def test_the_recursion_has_the_profile_of_the_power_function() -> None:
    row = tracked(2000, 0.1)[-1]
    assert row.sum() == pytest.approx(1)
    steps = np.arange(1, 2001) / 2000
    mean = row @ steps
    assert (row @ (steps - mean) ** 2) ** 0.5 == pytest.approx(0.1, rel=0.01)


@pytest.mark.parametrize("sigma_rel", [0.03, 0.07, 0.12, 0.2])
def test_any_profile_is_rebuilt_from_snapshots_of_two(sigma_rel: float) -> None:
    steps, every = 2000, 50
    sources = {s: tracked(steps, s) for s in (0.05, 0.1)}
    kept = [(s, t) for t in range(every, steps + 1, every) for s in sources]
    profiles = [Profile(s, t) for s, t in kept]
    factors = mixture_of(profiles, Profile(sigma_rel, steps))
    assert float(factors.sum()) == pytest.approx(1)
    rebuilt = sum(float(f) * sources[s][t - 1] for f, (s, t) in zip(factors, kept, strict=True))
    wanted = tracked(steps, sigma_rel)[-1]
    assert np.linalg.norm(rebuilt - wanted) < 0.06 * np.linalg.norm(wanted)
    assert misfit(profiles, Profile(sigma_rel, steps)) < 0.05


def test_a_kept_profile_is_given_as_it_is_and_a_narrow_one_cannot_be_had_from_wide_ones() -> None:
    kept = [Profile(s, t) for t in (500, 1000) for s in (0.05, 0.1)]
    factors = mixture_of(kept, kept[3])
    torch.testing.assert_close(factors, torch.tensor([0.0, 0.0, 0.0, 1.0]).double())
    assert misfit(kept, kept[3]) < 1e-6
    assert misfit(kept, Profile(0.005, 1000)) > 0.3


@pytest.mark.parametrize("sigma_rel", [0.0, -0.1, 0.3])
def test_widths_that_no_power_has_are_refused(sigma_rel: float) -> None:
    with pytest.raises(ValueError, match="must lie in"):
        gamma_of(sigma_rel)
