from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from functional.gan_regularizers import (
    Penalty,
    clip_weights,
    gradient_penalty,
    r1,
    r2,
    refuse_compiled,
)
from functional.schedule import CosineSchedule

SHAPE = (5, 2, 3, 3)


def linear_d(norm: float) -> nn.Sequential:
    """D(x) = <w, x> + b with ||w|| = norm, so that grad D = w at every x."""
    discriminator = nn.Sequential(nn.Flatten(), nn.Linear(18, 1)).double()
    with torch.no_grad():
        weight = torch.randn(1, 18, generator=torch.Generator().manual_seed(0))
        discriminator[1].weight.copy_(weight * norm / weight.norm())
    return discriminator


def square_d(images: Tensor) -> Tensor:
    """D(x) = ||x||^2 / 2, so that grad D = x."""
    return images.square().sum(dim=(1, 2, 3)) / 2


def images(seed: int) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_penalties_of_a_linear_d_have_their_closed_form() -> None:
    d = linear_d(norm=3.0)
    assert float(gradient_penalty(d, images(0), images(1))) == pytest.approx((3 - 1) ** 2)
    assert float(r1(d, images(0))) == pytest.approx(9 / 2)
    assert float(r2(d, images(1))) == pytest.approx(9 / 2)


def test_the_gradient_of_the_penalty_of_a_linear_d_has_its_closed_form() -> None:
    d = linear_d(norm=3.0)
    weight = d[1].weight
    (of_r1,) = torch.autograd.grad(r1(d, images(0)), weight)
    torch.testing.assert_close(of_r1, weight)
    (of_gp,) = torch.autograd.grad(gradient_penalty(d, images(0), images(1)), weight)
    torch.testing.assert_close(of_gp, 2 * (3 - 1) * weight / 3)


def test_r1_reads_real_and_r2_fake_images_as_sums_over_pixels_and_means_over_images() -> None:
    for penalty in (r1, r2):
        wanted = float(images(4).square().sum()) / len(images(4)) / 2
        assert float(penalty(square_d, images(4))) == pytest.approx(wanted)


def test_each_image_is_interpolated_by_one_alpha_of_its_own() -> None:
    """With grad D = x and x_hat = alpha real, the penalty tells the alphas."""
    real = torch.zeros(SHAPE, dtype=torch.float64)
    real[:, 0, 0, 0], real[:, 1, 2, 2] = 3.0, 4.0
    seen: list[Tensor] = []

    def spying(x: Tensor) -> Tensor:
        seen.append(x.detach() / real.clamp(min=1e-9))
        return square_d(x)

    penalty = gradient_penalty(
        spying, real, torch.zeros_like(real), generator=torch.Generator().manual_seed(0)
    )
    alpha = seen[0][:, 0, 0, 0]
    torch.testing.assert_close(alpha, seen[0][:, 1, 2, 2])
    assert len(set(alpha.tolist())) == len(real) and alpha.min() >= 0 and alpha.max() < 1
    assert float(penalty) == pytest.approx(float((5 * alpha - 1).square().mean()))


def test_alpha_is_uniform_and_its_generator_makes_it_repeatable() -> None:
    real = torch.zeros(20_000, 1, 1, 1)
    real += 1
    seen = []

    def spying(x: Tensor) -> Tensor:
        seen.append(x.detach().flatten())
        return square_d(x)

    for _ in range(2):
        gradient_penalty(spying, real, real - 1, generator=torch.Generator().manual_seed(3))
    assert torch.equal(seen[0], seen[1])
    quantiles = seen[0].quantile(torch.tensor([0.1, 0.5, 0.9]))
    torch.testing.assert_close(quantiles, torch.tensor([0.1, 0.5, 0.9]), atol=0.015, rtol=0)


PENALTIES: dict[str, Callable[[nn.Module, Tensor, Tensor], Tensor]] = {
    "gradient_penalty": lambda d, real, fake: gradient_penalty(
        d, real, fake, generator=torch.Generator().manual_seed(0)
    ),
    "r1": lambda d, real, _: r1(d, real),
    "r2": lambda d, _, fake: r2(d, fake),
}


@pytest.mark.parametrize("name", PENALTIES)
def test_penalties_match_finite_differences_in_d_s_parameters(name: str) -> None:
    torch.manual_seed(0)
    d = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(3, 1)).double()
    weight = d[0].weight

    def of(value: Tensor) -> Tensor:
        parameters = {**dict(d.named_parameters()), "0.weight": value}
        bound = lambda x: torch.func.functional_call(d, parameters, (x,))  # noqa: E731
        return PENALTIES[name](bound, images(0), images(1))

    assert torch.autograd.gradcheck(of, (weight.detach().clone().requires_grad_(),))


@pytest.mark.parametrize("name", PENALTIES)
def test_neither_images_nor_their_generator_receive_a_gradient(name: str) -> None:
    d = nn.Sequential(nn.Flatten(), nn.Linear(18, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    real, scale = images(0).requires_grad_(), torch.ones(1, requires_grad=True)
    PENALTIES[name](d, real, images(1) * scale).backward()
    assert real.grad is None and scale.grad is None
    assert d[1].weight.grad is not None and d[1].weight.grad.abs().max() > 0


@pytest.mark.parametrize("name", PENALTIES)
def test_penalties_are_float32_inside_autocast_and_for_bf16_images(name: str) -> None:
    torch.manual_seed(0)
    d = nn.Sequential(nn.Flatten(), nn.Linear(18, 8), nn.Tanh(), nn.Linear(8, 1))
    real, fake = images(0).bfloat16(), images(1).bfloat16()
    wanted = PENALTIES[name](d, real.float(), fake.float())
    with torch.autocast("cpu", torch.bfloat16):
        given = PENALTIES[name](d, real, fake)
    assert given.dtype == torch.float32
    assert torch.equal(given, wanted)


@pytest.mark.parametrize("name", PENALTIES)
def test_a_flat_d_has_finite_gradients(name: str) -> None:
    d = linear_d(norm=0.0)
    penalty = PENALTIES[name](d, images(0), images(1))
    penalty.backward()
    assert float(penalty) == (1.0 if name == "gradient_penalty" else 0.0)
    assert torch.isfinite(d[1].weight.grad).all()


def test_penalties_are_taken_also_where_gradients_are_off() -> None:
    with torch.no_grad():
        assert float(r1(linear_d(norm=2.0), images(0))) == pytest.approx(2.0)


def test_labels_reach_a_conditional_d() -> None:
    """D(x, y) = y ||x||^2 / 2 has grad D = y x."""
    labels = torch.arange(5)

    def conditional(x: Tensor, y: Tensor) -> Tensor:
        return y * square_d(x)

    norms = images(0).flatten(1).norm(dim=1) * labels
    assert float(r1(conditional, images(0), labels)) == pytest.approx(
        float(norms.square().mean()) / 2
    )
    same = gradient_penalty(conditional, images(0), images(0), labels)
    assert float(same) == pytest.approx(float((norms - 1).square().mean()))


@pytest.mark.parametrize("name", PENALTIES)
def test_a_penalty_by_name_reads_its_own_images_and_labels(name: str) -> None:
    def conditional(x: Tensor, y: Tensor) -> Tensor:
        return y * square_d(x)

    real, fake, ones, twos = images(0), images(1), torch.ones(5), torch.full((5,), 2.0)
    torch.manual_seed(0)
    given = Penalty(name, 1.0, 1).value(conditional, real, fake, ones, twos)
    torch.manual_seed(0)
    wanted = {
        "gradient_penalty": lambda: gradient_penalty(square_d, real, fake),
        "r1": lambda: r1(square_d, real),
        "r2": lambda: 4 * r2(square_d, fake),
    }[name]()
    torch.testing.assert_close(given, wanted)


@pytest.mark.parametrize("interval", [1, 4, 16])
def test_lazy_penalties_have_the_mean_of_every_step(interval: int) -> None:
    d, every, lazy = linear_d(2.0), Penalty("r1", 0.3, 1), Penalty("r1", 0.3, interval)

    def mean_gradient(penalty: Penalty) -> Tensor:
        total = torch.zeros(1, 18, dtype=torch.float64)
        for step in range(64):
            if penalty.due(step):
                loss = penalty.weighted(penalty.value(d, images(step // 16), images(9)))
                total += torch.autograd.grad(loss, d[1].weight)[0]
        return total / 64

    assert [step for step in range(33) if lazy.due(step)] == list(range(0, 33, interval))
    torch.testing.assert_close(mean_gradient(lazy), mean_gradient(every))
    torch.testing.assert_close(mean_gradient(lazy), 0.3 * d[1].weight)


def test_a_scheduled_weight_is_that_of_the_images_seen_before_the_step() -> None:
    """R3GAN's gamma, 0.05 to 0.005; the gradient of gamma r1 at D = <w, x> is gamma w."""
    d, gamma = linear_d(2.0), CosineSchedule(0.05, 0.005, 20_000_000)
    for images_seen, wanted in ((0, 0.05), (10_000_000, 0.0275), (20_000_000, 0.005)):
        penalty = Penalty("r1", gamma, 4)
        assert penalty.due(8, images_seen) and not penalty.due(9, images_seen)
        loss = penalty.weighted(penalty.value(d, images(0), images(1)), images_seen)
        (gradient,) = torch.autograd.grad(loss, d[1].weight)
        torch.testing.assert_close(gradient, 4 * wanted * d[1].weight)


def test_a_weight_that_falls_to_0_is_due_no_more() -> None:
    penalty = Penalty("r1", CosineSchedule(1.0, 0.0, 100), 1)
    assert penalty.due(3, 99) and not penalty.due(3, 100)


def test_a_weight_of_0_is_never_due() -> None:
    assert not any(Penalty("r1", 0.0, 1).due(step) for step in range(4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("r3", 1.0, 1), "'r3'; known: gradient_penalty, r1, r2"),
        (("r1", -1.0, 1), "0 or more, got -1.0"),
        (("r1", float("nan"), 1), "0 or more, got nan"),
        (("r1", 1.0, 0), "interval >= 1 steps, got 0"),
        (("r2", CosineSchedule(1.0, -0.1, 9), 1), "of r2 must be 0 or more, got -0.1"),
    ],
)
def test_penalties_that_make_no_sense_are_refused(
    arguments: tuple[str, float | CosineSchedule, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Penalty(*arguments)


def test_gradient_penalty_refuses_images_of_two_shapes() -> None:
    with pytest.raises(ValueError, match=r"\(5, 2, 3, 3\) and fake \(4, 2, 3, 3\)"):
        gradient_penalty(square_d, images(0), images(0)[:4])


def test_clipping_holds_every_weight_in_its_box_and_leaves_those_inside() -> None:
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[-0.5, 0.004], [0.01, 3.0]]))
        layer.bias.copy_(torch.tensor([-0.02, 0.0]))
    clip_weights(layer.parameters(), 0.01)
    torch.testing.assert_close(layer.weight.data, torch.tensor([[-0.01, 0.004], [0.01, 0.01]]))
    torch.testing.assert_close(layer.bias.data, torch.tensor([-0.01, 0.0]))
    assert layer.weight.requires_grad and layer.weight.grad_fn is None


@pytest.mark.parametrize("c", [0.0, -0.01, float("nan")])
def test_clipping_to_an_empty_box_is_refused(c: float) -> None:
    with pytest.raises(ValueError, match="c > 0, got"):
        clip_weights([torch.ones(1)], c)


def test_a_compiled_d_is_refused_with_a_way_out() -> None:
    plain = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    refuse_compiled(plain)
    in_place = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    in_place[1].compile()
    for compiled in (torch.compile(plain), in_place):
        with pytest.raises(ValueError, match="compile the generator alone"):
            refuse_compiled(compiled)
