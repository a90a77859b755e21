from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from functional.masking import BatchNoise
from functional.reconstruction import (
    LOSSES,
    check_density,
    check_emphasis,
    check_output,
    draw,
    emphasised,
    entry_losses,
    estimate,
    log_logistic,
)
from functional.seeding import ImageNoise

LEVELS = torch.arange(256.0) / 127.5 - 1


def of_levels(centre: float, log_scale: float) -> Tensor:
    """The output that says the same of 256 pixels."""
    return torch.tensor([centre, log_scale]).view(1, 2, 1, 1).expand(1, 2, 1, 256)


@pytest.mark.parametrize(
    ("centre", "log_scale"), [(0.1, -2.0), (0.5, 0.0), (-3.0, -1.0), (1.0, -5.0), (0.0, 3.0)]
)
def test_the_logistic_density_sums_to_one_over_the_grey_levels(
    centre: float, log_scale: float
) -> None:
    logs = log_logistic(of_levels(centre, log_scale), LEVELS.view(1, 1, 1, 256))
    assert logs.exp().sum() == pytest.approx(1, abs=1e-4)
    assert logs.isfinite().all()


def test_the_logistic_density_is_the_difference_of_its_distribution_at_the_levels_edges() -> None:
    centre, scale = 0.1, 0.2
    edges = (torch.arange(1, 256.0) - 0.5) / 127.5 - 1
    below = torch.sigmoid((edges.double() - centre) / scale)
    wanted = torch.cat([below, torch.ones(1)]) - torch.cat([torch.zeros(1), below])
    logs = log_logistic(of_levels(centre, torch.tensor(scale).log()), LEVELS.view(1, 1, 1, 256))
    torch.testing.assert_close(logs.flatten().double(), wanted.log(), rtol=1e-3, atol=1e-3)


def test_the_logistic_loss_has_gradients_where_it_is_very_wrong() -> None:
    output = of_levels(-1.0, -7.0).clone().requires_grad_()
    entry_losses("logistic", output, LEVELS.view(1, 1, 1, 256)).sum().backward()
    assert output.grad is not None and output.grad.isfinite().all()


def test_cross_entropy_is_that_of_pixels_in_0_1() -> None:
    logits, target = torch.randn(2, 1, 3, 3), torch.rand(2, 1, 3, 3) * 2 - 1
    p, x = torch.sigmoid(logits), (target + 1) / 2
    wanted = -(x * p.log() + (1 - x) * (1 - p).log())
    torch.testing.assert_close(entry_losses("bce", logits, target), wanted)
    torch.testing.assert_close(estimate("bce", logits), 2 * p - 1)


@pytest.mark.parametrize("value", [-1.01, 1.5])
def test_cross_entropy_with_targets_outside_the_range_is_refused(value: float) -> None:
    target = torch.zeros(2, 1, 3, 3)
    target[1, 0, 2, 1] = value
    with pytest.raises(ValueError, match=r"the targets reach from .*Use method.loss=mse"):
        entry_losses("bce", torch.zeros_like(target), target)


def test_squared_and_absolute_errors_are_of_the_output_as_it_is() -> None:
    output, target = torch.full((1, 1, 1, 1), 2.0), torch.full((1, 1, 1, 1), 0.5)
    assert entry_losses("mse", output, target) == 2.25 and estimate("mse", output) == 2
    assert entry_losses("l1", output, target) == 1.5 and estimate("l1", output) == 2


# Drawing


def test_pixels_drawn_under_cross_entropy_are_black_or_white_as_often_as_it_says() -> None:
    logits = torch.full((400, 1, 5, 5), 1.0)
    drawn = draw("bce", logits, BatchNoise(400, "cpu"))
    assert set(drawn.unique().tolist()) == {-1.0, 1.0}
    assert drawn.mean() == pytest.approx(float(torch.tanh(torch.tensor(0.5))), abs=0.04)


def test_pixels_drawn_from_the_logistic_density_have_its_quantiles_and_stay_in_range() -> None:
    output = torch.tensor([0.2, -2.5]).view(1, 2, 1, 1).expand(500, 2, 6, 6)
    drawn = draw("logistic", output, BatchNoise(500, "cpu"))
    assert drawn.abs().max() <= 1 and estimate("logistic", output).unique().tolist() == [
        pytest.approx(0.2)
    ]
    scale = torch.tensor(-2.5).exp()
    shares = torch.tensor([0.1, 0.5, 0.9])
    wanted = 0.2 + scale * torch.logit(shares)
    torch.testing.assert_close(drawn.flatten().quantile(shares), wanted, rtol=0, atol=0.01)


@pytest.mark.parametrize("loss", ["bce", "logistic"])
def test_image_i_is_drawn_by_its_own_noise(loss: str) -> None:
    output = torch.randn(3, 1 if loss == "bce" else 2, 4, 4)
    together = draw(loss, output, ImageNoise([5, 6, 7]))
    assert torch.equal(draw(loss, output[1:2], ImageNoise([6])), together[1:2])


# Emphasis


def test_emphasis_weighs_corrupted_and_intact_pixels_of_all_channels() -> None:
    losses = torch.ones(2, 3, 2, 2)
    chosen = torch.zeros(2, 1, 2, 2, dtype=torch.bool)
    chosen[0, 0, 0, 0] = True
    assert emphasised(losses, chosen, 4.0, 0.5).tolist() == [(4 + 3 * 0.5) / 4, 0.5]
    assert emphasised(losses, chosen, 1.0, 0.0).tolist() == [0.25, 0.0]
    assert emphasised(losses, None, 2.0, 0.0).tolist() == [2.0, 2.0]


def test_equal_weights_are_the_plain_loss() -> None:
    losses, chosen = torch.rand(2, 1, 4, 4), torch.rand(2, 1, 4, 4) < 0.5
    torch.testing.assert_close(emphasised(losses, chosen, 1.0, 1.0), losses.flatten(1).mean(1))


# Refusals


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: check_output("mae", (1, 8, 8), (1, 8, 8)), "unknown loss 'mae'; known: mse"),
        (
            lambda: check_output("logistic", (1, 8, 8), (1, 8, 8)),
            "gives 1 x 8 x 8 for an image, but loss=logistic takes 2 x 8 x 8; .*out_channels=2",
        ),
        (lambda: check_density("mse"), "method.loss=mse is no density"),
        (lambda: draw("l1", torch.zeros(1, 1, 2, 2), ImageNoise([0])), "no density"),
        (lambda: check_emphasis(-1.0, 1.0), "alpha=-1.0"),
        (lambda: check_emphasis(0.0, 0.0), "one above 0"),
    ],
)
def test_what_makes_no_sense_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_gives_an_estimate_in_the_images_shape(loss: str) -> None:
    maps = 2 if loss == "logistic" else 1
    check_output(loss, (3 * maps, 4, 4), (3, 4, 4))
    output, target = torch.randn(2, 3 * maps, 4, 4), torch.rand(2, 3, 4, 4)
    assert entry_losses(loss, output, target).shape == estimate(loss, output).shape == target.shape
