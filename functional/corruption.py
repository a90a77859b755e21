"""What corrupts an image: noise, masks, salt and pepper, and sequences of corruptions.

Strengths are given as papers give them, for images in [0, 1]: ``sigma`` of noise is a share of the
range from black to white. The platform's floats lie in [-1, 1], where its standard deviation is
``RANGE * sigma``.

A :class:`Corruption` says how; :meth:`Corruption.draw` gives the operator of N images, of which
image i depends on its own noise alone: ``functional.seeding.ImageNoise`` fixes it by a seed per
image, ``functional.masking.BatchNoise`` draws from torch's global generator. What needs no noise
(blur, fewer pixels, no colour, JPEG) is in ``functional.degradation``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from functional.masking import MaskOperator, Noise, check_kind, draw_mask, uniform
from functional.operators import AddedNoise, Composed, Impulses, Operator
from functional.patches import hidden_patches, patch_grid, pixels_of_patches

RANGE = 2.0
"""From black to white in the platform's floats."""
BLACK, WHITE = -1.0, 1.0
SPACINGS = ("uniform", "log")
Shape = tuple[int, int, int]


class Corruption:
    """A way to corrupt images, with plain settings.

    Attributes:
        name: in descriptions.
    """

    name: ClassVar[str]

    def draw(self, noise: Noise, shape: Shape) -> Operator:
        """Give the operator of N images.

        Args:
            noise: gives standard normal ``(N, *shape)``, the next of each image's stream.
            shape: (C, H, W) of the images.
        """
        raise NotImplementedError

    def check(self, shape: Shape) -> None:
        """Refuse images of ``shape`` that cannot be corrupted so, with a ValueError."""

    def tasks(self) -> tuple[str, ...]:
        """Give the names of the tasks of ``functional.restore_tasks`` that undo it."""
        return ()

    def learns_score(self, conditional: bool) -> bool:
        """Say whether a model of it by squared error has the score, told levels or not."""
        return False

    def describe(self) -> dict[str, Any]:
        """Give the settings as plain values, for a protocol record."""
        settings: dict[str, Any] = asdict(self)  # type: ignore[call-overload]
        return {"corruption": self.name, **settings}


@dataclass(frozen=True)
class Gaussian(Corruption):
    """Adds Gaussian noise of one level, or of a level drawn for each image.

    Attributes:
        sigma: standard deviation for images in [0, 1], or [lowest, highest] of a range.
        spacing: of a range: "uniform" in sigma, or "log", uniform in its logarithm.
        clip: hold the noisy image in the range. Without it, as by default, the difference between
            the restored and the noisy image is sigma^2 times the score (Vincent 2011).
    """

    name = "gaussian"
    sigma: float | Sequence[float]
    spacing: str = "uniform"
    clip: bool = False

    def __post_init__(self) -> None:
        low, high = self.bounds
        if not 0 <= low <= high < math.inf:
            raise ValueError(
                f"sigma={self.sigma} of Gaussian noise; expected 0 or more, or [lowest, highest], "
                "for images in [0, 1]: say 0.5, or [0.05, 0.8]"
            )
        if self.spacing not in SPACINGS:
            raise ValueError(f"unknown spacing {self.spacing!r}; known: {', '.join(SPACINGS)}")
        if self.spacing == "log" and low == 0:
            raise ValueError(f"sigma={self.sigma} has no logarithm; use spacing=uniform")

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest level."""
        if isinstance(self.sigma, int | float):
            return self.sigma, self.sigma
        if len(self.sigma) != 2:
            raise ValueError(f"sigma={list(self.sigma)}; expected one level or [lowest, highest]")
        return self.sigma[0], self.sigma[1]

    def learns_score(self, conditional: bool) -> bool:
        """Whole Gaussian noise, of one level or of levels that are told (Vincent 2011)."""
        low, high = self.bounds
        return not self.clip and high > 0 and (conditional or low == high)

    def tasks(self) -> tuple[str, ...]:
        """Give ``denoise-<sigma>``; of a range at its quarters, half as much again and twice."""
        low, high = self.bounds
        levels = [high] if low == high else [share * high for share in (0.25, 0.5, 0.75, 1, 1.5, 2)]
        return tuple(f"denoise-{level:g}" for level in levels)

    def draw(self, noise: Noise, shape: Shape) -> AddedNoise:
        low, high = self.bounds
        if low == high:
            drawn = noise(*shape)
            levels = torch.full((len(drawn),), float(low), device=drawn.device)
        else:
            levels, drawn = self.levels(uniform(noise, 1)[:, 0]), noise(*shape)
        return AddedNoise(drawn, levels, RANGE, self.clip)

    def levels(self, shares: Tensor) -> Tensor:
        """Give sigma at ``shares`` in [0, 1] of the range, as ``spacing`` says."""
        low, high = self.bounds
        if self.spacing == "uniform":
            return low + shares * (high - low)
        return (math.log(low) + shares * math.log(high / low)).exp()


@dataclass(frozen=True)
class Masking(Corruption):
    """Hides an exact share of the pixels or patches, in all channels.

    Attributes:
        ratio: the share hidden, in [0, 1).
        patch: side of a patch in pixels; 1 hides pixels one by one (Vincent et al. 2010).
        kind: of ``functional.masking.MASKS``.
        value: what stands at hidden pixels. The paper's 0 is the black of its images in [0, 1] and
            so -1 here; 0 would be mid-grey.
    """

    name = "masking"
    ratio: float
    patch: int = 1
    kind: str = "random"
    value: float = BLACK

    def __post_init__(self) -> None:
        check_kind(self.kind)
        check_share("ratio", self.ratio)

    def check(self, shape: Shape) -> None:
        patch_grid(shape[1:], (self.patch, self.patch))

    def tasks(self) -> tuple[str, ...]:
        percent = f"{100 * self.ratio:g}"
        return (f"inpaint-{percent}",) if self.patch == 1 else ()

    def draw(self, noise: Noise, shape: Shape) -> MaskOperator:
        sides = (self.patch, self.patch)
        grid = patch_grid(shape[1:], sides)
        visible = draw_mask(self.kind, grid, self.ratio, noise)
        hidden = hidden_patches(visible, grid[0] * grid[1])
        return MaskOperator(self.name, pixels_of_patches(hidden, sides, shape[1:]), self.value)


@dataclass(frozen=True)
class SaltAndPepper(Corruption):
    """Sets an exact share of the pixels, in all channels, to black or white by a fair coin.

    Vincent et al. (2010). Unlike :class:`Masking` nothing says which.

    Attributes:
        ratio: the share, in [0, 1).
    """

    name = "salt_pepper"
    ratio: float

    def __post_init__(self) -> None:
        check_share("ratio", self.ratio)

    def tasks(self) -> tuple[str, ...]:
        return (f"salt_pepper-{100 * self.ratio:g}",)

    def draw(self, noise: Noise, shape: Shape) -> Impulses:
        hidden = Masking(self.ratio).draw(noise, shape).mask
        coin = noise(1, *shape[1:]) > 0
        return Impulses(hidden, torch.where(coin, WHITE, BLACK))


@dataclass(frozen=True)
class Composition(Corruption):
    """Several corruptions, one after the other.

    Attributes:
        parts: the first is applied first.
    """

    name = "composition"
    parts: Sequence[Corruption]

    def __post_init__(self) -> None:
        if not self.parts:
            raise ValueError("a composition of no corruptions; give at least one part")

    def check(self, shape: Shape) -> None:
        for part in self.parts:
            part.check(shape)

    def draw(self, noise: Noise, shape: Shape) -> Composed:
        return Composed([part.draw(noise, shape) for part in self.parts])

    def describe(self) -> dict[str, Any]:
        return {"corruption": self.name, "parts": [part.describe() for part in self.parts]}


def check_share(name: str, value: float) -> None:
    """Refuse a share that does not lie in [0, 1) with a ValueError."""
    if not 0 <= value < 1:
        raise ValueError(f"{name}={value} of the pixels; expected a share in [0, 1), say 0.25")
