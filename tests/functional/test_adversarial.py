from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from functional.adversarial import LOSSES, make_loss

REAL = torch.tensor([2.0, -1.0], dtype=torch.float64)
FAKE = torch.tensor([0.5, -3.0], dtype=torch.float64)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def log_d(x: float) -> float:
    return math.log(sigmoid(x))


def log_not_d(x: float) -> float:
    return math.log(1 - sigmoid(x))


# The papers' formulas on the logits above, written out with probabilities and numbers.
CLASSIC_D = -(log_d(2) + log_d(-1)) / 2 - (log_not_d(0.5) + log_not_d(-3)) / 2
EXPECTED = {
    "minimax": (CLASSIC_D, (log_not_d(0.5) + log_not_d(-3)) / 2),
    "non_saturating": (CLASSIC_D, -(log_d(0.5) + log_d(-3)) / 2),
    "least_squares": ((1 + 4) / 4 + (0.25 + 9) / 4, (0.25 + 16) / 4),
    "wasserstein": (-1.25 - 0.5, 1.25),
    "hinge": ((0 + 2) / 2 + (1.5 + 0) / 2, 1.25),
    "relativistic": (-(log_d(1.5) + log_d(2)) / 2, -(log_d(-1.5) + log_d(-2)) / 2),
}


def slopes(loss: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
    """The gradient with respect to each logit, times how many there are."""
    leaf = logits.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf), leaf)
    return gradient * leaf.numel()


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_the_papers_formulas_on_hand_made_logits(name: str) -> None:
    loss = make_loss(name)
    wanted_d, wanted_g = EXPECTED[name]
    assert float(loss.discriminator(REAL, FAKE)) == pytest.approx(wanted_d, rel=1e-12)
    assert float(loss.generator(FAKE, REAL)) == pytest.approx(wanted_g, rel=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_d_is_pushed_up_on_real_and_down_on_fake_and_g_pushes_its_fakes_up(name: str) -> None:
    loss = make_loss(name)
    near = torch.tensor([0.1, -0.4, 0.3])
    assert (slopes(lambda real: loss.discriminator(real, near), near) < 0).all()
    # LSGAN draws fakes to 0: from above only is that down.
    above = near.abs()
    assert (slopes(lambda fake: loss.discriminator(near, fake), above) > 0).all()
    assert (slopes(lambda fake: loss.generator(fake, near), near) < 0).all()


def test_saturating_and_non_saturating_have_opposite_values_and_one_gradient_at_logit_0() -> None:
    zero = torch.zeros(1, dtype=torch.float64)
    minimax, other = make_loss("minimax"), make_loss("non_saturating")
    assert float(minimax.generator(zero)) == pytest.approx(-math.log(2))
    assert float(other.generator(zero)) == pytest.approx(math.log(2))
    assert float(slopes(minimax.generator, zero)) == pytest.approx(-0.5)
    assert float(slopes(other.generator, zero)) == pytest.approx(-0.5)


def test_where_d_goes_to_0_only_the_saturating_gradient_vanishes() -> None:
    sure_fake = torch.tensor([-30.0])
    assert -1e-12 < float(slopes(make_loss("minimax").generator, sure_fake)) < 0
    assert float(slopes(make_loss("non_saturating").generator, sure_fake)) == pytest.approx(-1)


def test_minimax_is_a_zero_sum_game_in_the_fakes() -> None:
    loss = make_loss("minimax")
    of_d = slopes(lambda fake: loss.discriminator(REAL, fake), FAKE)
    torch.testing.assert_close(of_d, -slopes(loss.generator, FAKE))


def test_hinge_leaves_alone_what_is_beyond_the_margin() -> None:
    loss = make_loss("hinge")
    beyond, within = torch.tensor([1.5, 4.0]), torch.tensor([0.9, -2.0])
    assert slopes(lambda real: loss.discriminator(real, within), beyond).tolist() == [0, 0]
    assert slopes(lambda fake: loss.discriminator(within, fake), -beyond).tolist() == [0, 0]
    assert slopes(lambda real: loss.discriminator(real, within), within).tolist() == [-1, -1]
    assert slopes(loss.generator, -beyond).tolist() == [-1, -1]


def test_least_squares_rests_where_logits_have_their_codes() -> None:
    loss, ones, zeros = make_loss("least_squares"), torch.ones(3), torch.zeros(3)
    assert float(loss.discriminator(ones, zeros)) == float(loss.generator(ones)) == 0


@pytest.mark.parametrize("name", LOSSES)
def test_a_constant_added_to_d_changes_nothing_for_the_relativistic_loss_alone(name: str) -> None:
    loss = make_loss(name)
    shifted = float(loss.generator(FAKE + 5, REAL + 5) - loss.generator(FAKE, REAL))
    shifted_d = float(loss.discriminator(REAL + 5, FAKE + 5) - loss.discriminator(REAL, FAKE))
    assert (abs(shifted) < 1e-12) == (name == "relativistic")
    assert (abs(shifted_d) < 1e-12) == (name in ("relativistic", "wasserstein"))


@pytest.mark.parametrize("name", LOSSES)
def test_needs_real_says_whether_g_reads_the_real_logits(name: str) -> None:
    loss = make_loss(name)
    moved = float(loss.generator(FAKE, REAL + 1)) != float(loss.generator(FAKE, REAL))
    assert loss.needs_real == moved
    if not loss.needs_real:
        assert float(loss.generator(FAKE)) == float(loss.generator(FAKE, REAL))


@pytest.mark.parametrize("name", LOSSES)
def test_a_d_that_cannot_tell_rests_at_the_boundary(name: str) -> None:
    """Where real and fake logits are one number, D is driven to the boundary, if there is one."""
    loss = make_loss(name)

    def slope(logit: float) -> float:
        return float(slopes(lambda one: loss.discriminator(one, one), torch.tensor([logit])))

    if loss.boundary is None:
        assert slope(-2.0) == slope(3.0) == 0
    else:
        assert slope(loss.boundary - 1.5) < 0 < slope(loss.boundary + 1.5)
        assert slope(loss.boundary) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_bf16_logits_are_summed_in_float32(name: str) -> None:
    loss = make_loss(name)
    generator = torch.Generator().manual_seed(0)
    real, fake = torch.randn(2, 1001, generator=generator).bfloat16()
    for given, exact in (
        (loss.discriminator(real, fake), loss.discriminator(real.double(), fake.double())),
        (loss.generator(fake, real), loss.generator(fake.double(), real.double())),
    ):
        assert given.dtype == torch.float32
        assert float(given) == pytest.approx(float(exact), rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_extreme_logits_give_finite_losses_and_gradients(name: str) -> None:
    loss = make_loss(name)
    real, fake = torch.tensor([-1e4, 1e4]), torch.tensor([1e4, -1e4])
    assert torch.isfinite(loss.discriminator(real, fake))
    assert torch.isfinite(slopes(lambda logits: loss.discriminator(logits, fake), real)).all()
    assert torch.isfinite(slopes(lambda logits: loss.generator(logits, real), fake)).all()


def test_an_unknown_loss_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'vanilla'.*minimax, non_saturating, least_squares"):
        make_loss("vanilla")


def test_relativistic_refuses_g_without_real_logits_and_unequal_shapes() -> None:
    loss = make_loss("relativistic")
    with pytest.raises(ValueError, match="real_logits=None"):
        loss.generator(FAKE)
    with pytest.raises(ValueError, match=r"\(2, 1\) \(real\) and \(2,\) \(fake\)"):
        loss.discriminator(REAL[:, None], FAKE)
