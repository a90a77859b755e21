"""Numbers that change in training, as functions of the real images seen and of nothing else.

So a resumed run goes on with the very next value, any number of processes agrees on it, and
another batch size changes how often it is looked at, not its course. Wherever a setting is
annotated ``float | Schedule``, a configuration may give a plain number or one of these.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from torch.optim import Optimizer


class Schedule(ABC):
    """A number for every count of images; it moves one way only, between its two ends."""

    @abstractmethod
    def __call__(self, images: int) -> float:
        """Give the value when ``images`` real images have been seen, 0 before the first step."""

    @abstractmethod
    def ends(self) -> tuple[float, float]:
        """Give the first value and the one that is reached, or approached, at last."""


@dataclass(frozen=True)
class LinearSchedule(Schedule):
    """A straight line from ``start`` to ``end`` over the first ``images`` images, then constant.

    Raises:
        ValueError: for ``images`` below 1.
    """

    start: float
    end: float
    images: int

    def __post_init__(self) -> None:
        if self.images < 1:
            raise ValueError(
                f"a schedule over images={self.images} has no course; give 1 image or more, or a "
                "plain number in its place"
            )

    def __call__(self, images: int) -> float:
        share = self.share(min(max(images / self.images, 0.0), 1.0))
        # Both ends to the bit, whatever the rounding between them.
        return self.start * (1 - share) + self.end * share

    def share(self, progress: float) -> float:
        """Give how far the value has come, in [0, 1], at ``progress`` in [0, 1]."""
        return progress

    def ends(self) -> tuple[float, float]:
        return self.start, self.end


@dataclass(frozen=True)
class CosineSchedule(LinearSchedule):
    """Half a cosine from ``start`` to ``end`` over the first ``images`` images, then constant.

    What R3GAN moves its learning rate, gamma, beta2, half-life and augmentation by (Huang et al.
    2024): ``end + (start - end) (1 + cos(pi t)) / 2``.
    """

    def share(self, progress: float) -> float:
        return (1 - math.cos(math.pi * progress)) / 2


@dataclass(frozen=True)
class ExponentialSchedule(Schedule):
    """``start`` divided by ``factor`` with every ``images`` images, never below ``floor``.

    Raises:
        ValueError: where the value would grow or never move: factor <= 1, images < 1, or a start
            below the floor.
    """

    start: float
    factor: float
    images: int
    floor: float = 0.0

    def __post_init__(self) -> None:
        if not (self.factor > 1 and self.images >= 1 and self.start >= self.floor >= 0):
            raise ValueError(
                f"start={self.start}, factor={self.factor}, images={self.images} and "
                f"floor={self.floor} make no decay; give factor > 1, images >= 1 and "
                "start >= floor >= 0"
            )

    def __call__(self, images: int) -> float:
        return max(self.start * math.pow(self.factor, -images / self.images), self.floor)

    def ends(self) -> tuple[float, float]:
        return self.start, self.floor


def value_at(number: float | Schedule, images: int) -> float:
    """Give a number, scheduled or not, when ``images`` real images have been seen."""
    return number(images) if isinstance(number, Schedule) else number


def check_range(name: str, number: float | Schedule, low: float, high: float) -> None:
    """Refuse a number that is, or comes to lie, outside [low, high] (ValueError)."""
    for value in number.ends() if isinstance(number, Schedule) else (number,):
        if not low <= value <= high:
            allowed = f"lie in [{low:g}, {high:g}]" if high < math.inf else f"be {low:g} or more"
            raise ValueError(f"{name} must {allowed}, got {value} in {number}")


def check_positive(**numbers: float | None) -> None:
    """Refuse a number, by its name, that is not above 0 (ValueError); None is left alone."""
    for name, number in numbers.items():
        if number is not None and not number > 0:
            raise ValueError(f"{name}={number}; expected more than 0")


BETAS = ("beta1", "beta2")


def check_schedules(optimizer: Optimizer, schedules: Mapping[str, Schedule]) -> None:
    """Refuse schedules of what ``optimizer`` does not have (ValueError, lists what it has)."""
    group = optimizer.param_groups[0]
    known = sorted(k for k, v in group.items() if type(v) in (float, int))
    known += list(BETAS) if "betas" in group else []
    for name, schedule in schedules.items():
        if name not in known:
            raise ValueError(
                f"{type(optimizer).__name__} has no {name!r} to schedule; known: {', '.join(known)}"
            )
        if not isinstance(schedule, Schedule):
            raise ValueError(
                f"{name}={schedule!r} is no schedule; give one of functional.schedule, or set "
                f"{name} of the optimiser itself"
            )
        if name == "lr" and not group["lr"] > 0:
            raise ValueError(f"lr={group['lr']} of the optimiser is scheduled; give its start")
        if name in BETAS and not all(0 <= beta < 1 for beta in schedule.ends()):
            raise ValueError(f"{name} must lie in [0, 1), got {schedule}")


def set_scheduled(optimizer: Optimizer, schedules: Mapping[str, Schedule], images: int) -> None:
    """Set what is scheduled of ``optimizer``, in all its groups, for the step to come.

    Args:
        optimizer: any; ``beta1`` and ``beta2`` are the two of ``betas``, other names its own.
        schedules: by name; ``lr`` is left to a scheduler of the learning rate.
        images: real images seen before the step.
    """
    for name, schedule in schedules.items():
        for group in optimizer.param_groups if name != "lr" else ():
            if name in BETAS:
                betas = list(group["betas"])
                betas[BETAS.index(name)] = schedule(images)
                group["betas"] = tuple(betas)
            else:
                group[name] = schedule(images)
