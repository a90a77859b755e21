from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from functional.masking import MaskOperator
from metrics.classical import FILTERS, averaged, baselines, tuned_strengths
from metrics.restoration import image_scores
from tests.metrics.test_restoration import holes, images


def noise(sigma: float, seed: int = 0) -> Any:
    """An operator that adds noise of standard deviation ``sigma`` to images in [-1, 1]."""

    def apply(clean: Tensor) -> Tensor:
        drawn = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
        return clean + sigma * drawn

    return SimpleNamespace(apply=apply)


def quality(found: dict[str, Tensor], clean: Tensor, hidden: Tensor | None = None) -> Any:
    metric = "psnr" if hidden is None else "psnr-masked"
    return {n: float(image_scores(x, clean, hidden)[metric].mean()) for n, x in found.items()}


def flat_pieces(n: int = 6, side: int = 16) -> Tensor:
    """Images of a few flat pieces with straight edges."""
    coarse = torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return F.interpolate(coarse, side, mode="nearest")


def test_baselines_see_no_hidden_pixel_and_keep_the_visible_ones() -> None:
    clean, hidden = images(), holes(images())
    changed = torch.where(hidden, -clean, clean)
    operator = MaskOperator("holes", hidden)
    one, other = (baselines(operator.apply(x), operator, {}) for x in (clean, changed))
    assert tuned_strengths(clean, operator) == {}
    assert list(one) == ["corrupted", "mean-fill", "bilinear"]
    for name in one:
        assert torch.equal(one[name], other[name])
        assert torch.equal(one[name].masked_fill(hidden, 0), clean.masked_fill(hidden, 0))
    found = quality(one, clean, hidden)
    assert found["bilinear"] > found["mean-fill"]


@pytest.mark.parametrize("sigma", [0.2, 0.6])
def test_tuned_filters_beat_the_noise_on_images_that_they_were_not_tuned_on(sigma: float) -> None:
    train, test = flat_pieces(12)[:6], flat_pieces(12)[6:]
    strengths = tuned_strengths(train, noise(sigma))
    operator = noise(sigma, seed=1)
    found = quality(baselines(operator.apply(test), operator, strengths), test)
    assert list(found) == ["corrupted", "median", "tv", "bilinear"]
    assert found["tv"] > max(found["median"], found["bilinear"])
    assert min(found["median"], found["bilinear"]) > found["corrupted"] + 0.4


def test_the_strength_chosen_is_the_best_of_all_and_grows_with_the_noise() -> None:
    clean, chosen = flat_pieces(), []
    for sigma in (0.1, 1.6):
        strengths = tuned_strengths(clean, noise(sigma))
        chosen.append(strengths)
        corrupted = noise(sigma).apply(clean)
        for name, (apply, candidates) in FILTERS.items():
            scores = quality({str(s): apply(corrupted, s) for s in candidates}, clean)
            assert scores[str(strengths[name])] == max(scores.values())
            # The best one lies inside the grid: a longer grid would not help.
            assert name != "tv" or candidates[0] < strengths[name] < candidates[-1]
    low, high = chosen
    assert low["tv"] < high["tv"] and all(low[n] <= high[n] for n in FILTERS)


def test_means_of_squares_keep_a_flat_image_and_average_noise_away() -> None:
    flat = torch.full((1, 1, 28, 28), 0.25)
    torch.testing.assert_close(averaged(flat, 3), flat)
    smoothed = averaged(noise(1.0).apply(torch.zeros(8, 1, 28, 28)), 4)
    # A mean of 16, of which interpolation between squares takes a further mean.
    assert 0.1 < float(smoothed.std()) < 0.25


def test_averaged_squares_are_interpolated() -> None:
    ramp = torch.linspace(-1, 1, 16).view(1, 1, 1, 16).expand(2, 3, 16, 16)

    def apply(clean: Tensor) -> Tensor:
        return F.interpolate(F.avg_pool2d(clean, 4), scale_factor=4, mode="nearest")

    operator: Any = SimpleNamespace(apply=apply, factor=4)
    found = baselines(apply(ramp), operator, {})
    torch.testing.assert_close(found["bilinear"][..., 2:-2], ramp[..., 2:-2])
    assert not torch.equal(found["corrupted"], found["bilinear"])
