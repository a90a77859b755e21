"""What is minimised, against the formulas of the papers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from functional.diffusion import levels, posterior, simple_loss, target, to_x0
from functional.noise_schedule import LinearPath, VariancePreserving
from functional.objective import Noisy, Objective, add_noise
from functional.reverse_variance import step_log_variances
from functional.variational_bound import step_terms

CHAIN = VariancePreserving(100, "cosine")
T = torch.tensor([1.0, 2.0, 40.0, 77.0, 100.0], dtype=torch.float64)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def noisy() -> Noisy:
    return add_noise(draw(5, 1, 4, 4).clamp(-1, 1), draw(5, 1, 4, 4, seed=1), T, CHAIN)


def snr() -> Tensor:
    return (CHAIN.alpha(T) / CHAIN.sigma(T)) ** 2


def weight(prediction: str, **settings: Any) -> Tensor:
    """What a unit error of the output costs."""
    at = noisy()
    wanted = target(prediction, at.x0, at.eps, *levels(CHAIN, T, at.x0))
    return Objective(**settings)(wanted + 1, at, prediction, CHAIN).double()


@pytest.mark.parametrize(
    ("prediction", "formula"),
    [
        ("eps", lambda snr: (5 / snr).clamp(max=1)),
        ("x0", lambda snr: snr.clamp(max=5)),
        ("v", lambda snr: snr.clamp(max=5) / (snr + 1)),
    ],
)
def test_min_snr_weighs_as_hang_2023_state_it(prediction: str, formula: Any) -> None:
    got = weight(prediction, weighting="min_snr", gamma=5.0)
    torch.testing.assert_close(got, formula(snr()), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("gamma", "k"), [(1.0, 1.0), (0.5, 2.0)])
def test_p2_weighs_eps_as_choi_2022_state_it(gamma: float, k: float) -> None:
    got = weight("eps", weighting="p2", gamma=gamma, k=k)
    torch.testing.assert_close(got, (k + snr()) ** -gamma, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v", "velocity", "edm"])
def test_uniform_is_l_simple(prediction: str) -> None:
    torch.testing.assert_close(weight(prediction), torch.ones(5).double(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("weighting", ["min_snr", "p2"])
def test_a_weighting_by_snr_costs_the_same_whatever_the_network_predicts(weighting: str) -> None:
    at, estimate = noisy(), draw(5, 1, 4, 4, seed=3)
    alpha, sigma = levels(CHAIN, T, at.x0)
    implied = (at.x_t - alpha * estimate) / sigma
    losses = [
        Objective(weighting=weighting)(
            target(prediction, estimate, implied, alpha, sigma), at, prediction, CHAIN
        )
        for prediction in ("eps", "x0", "v", "velocity", "edm")
    ]
    for other in losses[1:]:
        torch.testing.assert_close(other, losses[0], rtol=1e-3, atol=1e-6)


# The bound


def of_chain() -> Any:
    return step_log_variances(CHAIN, torch.arange(100, -1, -1, dtype=torch.float64))


@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_the_bound_is_t_times_the_term_of_the_drawn_step(prediction: str, variance: str) -> None:
    at, output = noisy(), draw(5, 1, 4, 4, seed=2)
    got = Objective("bound", variance=variance)(output, at, prediction, CHAIN).double()
    x0 = to_x0(prediction, output, at.x_t, *levels(CHAIN, T, output))
    end = of_chain().small if variance == "fixed_small" else of_chain().large
    log_variance = end.flip(0)[T.long() - 1].view(5, 1, 1, 1)
    wanted = 100 * step_terms(at.x0, x0, T, T - 1, CHAIN, log_variance)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


def test_the_mean_of_the_bound_over_all_steps_is_their_sum() -> None:
    t = torch.arange(1.0, 101.0, dtype=torch.float64)
    x0 = draw(1, 1, 4, 4).clamp(-1, 1).expand(100, -1, -1, -1)
    at = add_noise(x0, draw(100, 1, 4, 4, seed=1), t, CHAIN)
    got = Objective("bound")(at.x0 + 0.1, at, "x0", CHAIN).mean()
    large = of_chain().large.flip(0).view(100, 1, 1, 1)
    torch.testing.assert_close(
        got.double(), step_terms(x0, x0 + 0.1, t, t - 1, CHAIN, large).sum(), rtol=1e-4, atol=1e-4
    )


def test_the_best_learnt_variance_is_that_of_the_error_of_the_mean() -> None:
    """The bound at a step is least where the variance is beta_tilde + E[(mean error)^2]."""
    t = torch.full((1,), 40.0, dtype=torch.float64)
    x0 = draw(1, 1, 4, 4).clamp(-1, 1)
    at = add_noise(x0, draw(1, 1, 4, 4, seed=1), t, CHAIN)
    off = 0.3
    true, model = (posterior(at.x_t, x, t, t - 1, CHAIN) for x in (x0, x0 + off))
    best = (true.variance + (model.mean - true.mean).square().mean()).log()
    small, large = (float(end.flip(0)[39]) for end in of_chain())
    at_best = float(2 * (best - small) / (large - small) - 1)
    assert -1 < at_best < 1
    fractions = torch.linspace(-1, 1, 401, dtype=torch.float64)
    losses = [
        float(
            Objective("bound", variance="learnt")(
                torch.cat([x0 + off, torch.full_like(x0, f)], dim=1), at, "x0", CHAIN
            )
        )
        for f in fractions.tolist()
    ]
    assert float(fractions[losses.index(min(losses))]) == pytest.approx(at_best, abs=0.01)


def test_hybrid_trains_the_mean_by_l_simple_and_the_variance_by_the_bound() -> None:
    at, output = noisy(), draw(5, 2, 4, 4, seed=2).clamp(-1, 1).requires_grad_()
    (whole,) = torch.autograd.grad(
        Objective("hybrid", variance="learnt")(output, at, "eps", CHAIN).sum(), output
    )
    mean = output[:, :1].detach().requires_grad_()
    (simple,) = torch.autograd.grad(simple_loss(mean, at.eps).sum(), mean)
    (bound,) = torch.autograd.grad(
        Objective("bound", variance="learnt")(output, at, "eps", CHAIN).sum(), output
    )
    torch.testing.assert_close(whole[:, :1], simple, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(whole[:, 1:], 1e-3 * bound[:, 1:], rtol=1e-4, atol=1e-9)
    assert (whole[:, 1:] != 0).any()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"loss": "vlb"}, "'vlb'; known: simple, bound, hybrid"),
        ({"weighting": "snr"}, "'snr'; known: uniform, min_snr, p2"),
        ({"variance": "learned"}, "'learned'; known: fixed_small"),
        ({"loss": "hybrid"}, "'hybrid' with variance 'fixed_large'"),
        ({"variance": "learnt"}, "'simple' with variance 'learnt'"),
        ({"loss": "bound", "weighting": "p2"}, "weighting is 'p2'"),
        ({"gamma": 0.0}, "gamma=0.0"),
        ({"bound_weight": -1.0}, "bound_weight=-1.0"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        Objective(**settings)


def test_an_objective_that_a_schedule_cannot_have_is_refused() -> None:
    with pytest.raises(ValueError, match="which LinearPath has not"):
        Objective("bound").check(LinearPath())
    zero = VariancePreserving(10, zero_terminal_snr=True)
    with pytest.raises(ValueError, match="min_snr gives no weight to the step with SNR 0"):
        Objective(weighting="min_snr").check(zero)
    Objective("bound").check(zero)
    Objective(weighting="min_snr").check(LinearPath())
