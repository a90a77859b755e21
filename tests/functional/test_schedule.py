from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from functional.schedule import (
    CosineSchedule,
    ExponentialSchedule,
    LinearSchedule,
    Schedule,
    check_positive,
    check_range,
    check_schedules,
    set_scheduled,
    value_at,
)


def adam() -> torch.optim.Optimizer:
    return torch.optim.Adam(nn.Linear(2, 2).parameters(), lr=1e-3, betas=(0.0, 0.9))


@pytest.mark.parametrize(("start", "end"), [(2e-4, 5e-5), (0.05, 0.005), (0.9, 0.99), (0, 5e6)])
def test_a_cosine_is_half_way_at_half_its_images_and_constant_after_them(
    start: float, end: float
) -> None:
    """The courses of R3GAN on CIFAR-10, over 20 million images."""
    course = CosineSchedule(start, end, 20_000_000)
    assert course(0) == start and course(20_000_000) == end == course(250_000_000)
    assert course(10_000_000) == pytest.approx((start + end) / 2)
    # (1 + cos(pi / 4)) / 2 of the way is left at a quarter.
    left = (2 + math.sqrt(2)) / 4
    assert course(5_000_000) == pytest.approx(left * start + (1 - left) * end)


def test_a_line_moves_in_equal_steps_and_then_stays() -> None:
    course = LinearSchedule(0.5, 0.7, 4)
    assert [course(n) for n in range(6)] == pytest.approx([0.5, 0.55, 0.6, 0.65, 0.7, 0.7])


def test_a_decay_divides_with_every_batch_of_images_down_to_its_floor() -> None:
    course = ExponentialSchedule(0.1, 1.000004, 100, floor=1e-6)
    rate = 0.1
    for batches in range(5):
        assert course(100 * batches) == pytest.approx(rate)
        rate /= 1.000004
    # ln 2 / ln 1.000004 batches halve it.
    assert course(17_328_714) == pytest.approx(0.05)
    assert course(10**12) == 1e-6


@pytest.mark.parametrize(
    "course", [CosineSchedule(3, 1, 40), LinearSchedule(1, 3, 40), ExponentialSchedule(2, 2, 7, 1)]
)
def test_a_course_stays_between_its_ends(course: Schedule) -> None:
    low, high = sorted(course.ends())
    values = [course(n) for n in range(100)]
    assert values[0] == course.ends()[0]
    assert values in (sorted(values), sorted(values, reverse=True))
    assert low <= min(values) and max(values) <= high


def test_a_plain_number_is_a_course_without_change() -> None:
    assert value_at(0.3, 0) == value_at(0.3, 10**9) == 0.3
    assert value_at(LinearSchedule(0, 1, 4), 2) == 0.5


def test_what_is_scheduled_is_set_in_every_group_and_the_rest_stays() -> None:
    optimizer = adam()
    optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(1))], "betas": (0.5, 0.8)})
    courses: dict[str, Schedule] = {
        "beta2": CosineSchedule(0.9, 0.99, 100),
        "weight_decay": LinearSchedule(0.0, 1.0, 100),
        "lr": LinearSchedule(1.0, 0.0, 100),
    }
    set_scheduled(optimizer, courses, 50)
    for group, beta1 in zip(optimizer.param_groups, (0.0, 0.5), strict=True):
        assert group["betas"] == pytest.approx((beta1, 0.945))
        assert group["weight_decay"] == pytest.approx(0.5)
        assert group["lr"] == 1e-3


@pytest.mark.parametrize(
    ("name", "course", "words"),
    [
        ("momentum", LinearSchedule(0, 1, 9), "Adam has no 'momentum' to schedule; known: eps, lr"),
        ("beta3", LinearSchedule(0, 0.5, 9), "no 'beta3'"),
        (
            "beta2",
            LinearSchedule(0.9, 1.0, 9),
            "beta2 must lie in [0, 1), got LinearSchedule(start=0.9",
        ),
    ],
)
def test_courses_of_what_an_optimizer_has_not_are_refused(
    name: str, course: Schedule, words: str
) -> None:
    with pytest.raises(ValueError) as caught:
        check_schedules(adam(), {name: course})
    assert words in str(caught.value)


def test_a_plain_number_among_courses_is_refused() -> None:
    with pytest.raises(ValueError, match="lr=0.5 is no schedule"):
        check_schedules(adam(), {"lr": 0.5})  # type: ignore[dict-item]


def test_a_course_of_a_rate_of_0_is_refused() -> None:
    still = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.0)
    with pytest.raises(ValueError, match="lr=0.0 of the optimiser is scheduled"):
        check_schedules(still, {"lr": LinearSchedule(1, 0, 9)})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: CosineSchedule(1, 0, 0), "images=0"),
        (lambda: ExponentialSchedule(1, 0.5, 10), "factor=0.5"),
        (lambda: ExponentialSchedule(1, 2, 10, floor=3), "floor=3"),
        (lambda: check_range("p", LinearSchedule(0, 2, 9), 0, 1), r"p must lie in \[0, 1\], got 2"),
        (lambda: check_range("w", -1.0, 0, math.inf), "w must be 0 or more, got -1.0"),
        (lambda: check_range("w", math.nan, 0, math.inf), "got nan"),
    ],
)
def test_courses_and_numbers_that_make_no_sense_are_refused(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_numbers_above_0_and_none_pass_and_others_are_named() -> None:
    check_positive(n_critic=1, weight_clip=1e-9, gradient_clip=None)
    for number in (0, -0.5, math.nan):
        with pytest.raises(ValueError, match=f"weight_clip={number}; expected more than 0"):
            check_positive(n_critic=1, weight_clip=number)
