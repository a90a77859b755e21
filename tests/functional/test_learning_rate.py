from __future__ import annotations

import math

import pytest

from functional.learning_rate import learning_rate_factor


def test_warm_up_grows_linearly_from_one_share_and_then_stays() -> None:
    factors = [learning_rate_factor(step, 4, 0.0, "constant") for step in range(6)]
    assert factors == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_without_warm_up_the_first_step_is_whole() -> None:
    assert learning_rate_factor(0, 0, 0.0, "constant") == 1


@pytest.mark.parametrize(
    ("decay", "wanted"),
    [
        ("constant", [1, 1, 1, 1]),
        ("linear", [1, 0.75, 0.5, 0]),
        # (1 + cos(pi p)) / 2 of Loshchilov & Hutter
        ("cosine", [1, 0.853553, 0.5, 0]),
    ],
)
def test_decay_over_the_budget(decay: str, wanted: list[float]) -> None:
    factors = [learning_rate_factor(9, 10, progress, decay) for progress in (0, 0.25, 0.5, 1)]
    assert factors == pytest.approx(wanted, abs=1e-6)


def test_warm_up_and_decay_multiply() -> None:
    assert learning_rate_factor(0, 2, 0.5, "linear") == pytest.approx(0.25)


def test_progress_beyond_the_budget_never_raises_the_rate_again() -> None:
    for decay in ("linear", "cosine"):
        assert learning_rate_factor(99, 0, 1.7, decay) == pytest.approx(0)
    assert learning_rate_factor(99, 0, -0.3, "linear") == 1


def test_unknown_decay_is_named() -> None:
    with pytest.raises(ValueError, match="'cosin'; known: constant, linear, cosine"):
        learning_rate_factor(0, 0, 0.0, "cosin")


@pytest.mark.parametrize(("warmup", "steps"), [(10, 90), (40, 800), (0, 50)])
def test_a_cosine_after_the_warm_up_is_that_of_the_authors_code(warmup: int, steps: int) -> None:
    for step in range(warmup + 1, steps):
        got = learning_rate_factor(step, warmup, step / steps, "cosine_after_warmup")
        wanted = (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2
        assert got == pytest.approx(wanted, abs=1e-9)
    assert learning_rate_factor(warmup, warmup, warmup / steps, "cosine_after_warmup") == 1
    assert learning_rate_factor(steps, warmup, 1.0, "cosine_after_warmup") == pytest.approx(0)
