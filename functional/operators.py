"""What was done to given images, its noise already drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


class Operator(Protocol):
    """What corrupts images ``(N, C, H, W)``, the same way at each call.

    Where it adds noise it has ``noise_level`` ``(N,)``, for images in [0, 1]; where a restorer may
    know what is hidden, ``mask``, bool ``(N, 1, H, W)``; where pixels were chosen, ``chosen``.
    """

    def apply(self, images: Tensor) -> Tensor:
        """Give ``images`` corrupted."""


@dataclass(frozen=True)
class AddedNoise:
    """Gaussian noise.

    Attributes:
        noise: standard normal, ``(N, C, H, W)``.
        noise_level: standard deviation for images in [0, 1], ``(N,)``.
        scale: of the images' range over that of [0, 1].
        clip: hold the result in [-1, 1].
    """

    noise: Tensor
    noise_level: Tensor
    scale: float
    clip: bool = False

    @property
    def std(self) -> Tensor:
        """Standard deviation in the images' own scale, ``(N,)``."""
        return self.scale * self.noise_level

    def apply(self, images: Tensor) -> Tensor:
        """Give ``images`` ``(N, C, H, W)`` with the noise added."""
        noisy = images + self.std.to(images.dtype).view(-1, 1, 1, 1) * self.noise
        return noisy.clamp(-1, 1) if self.clip else noisy


@dataclass(frozen=True)
class Impulses:
    """Single pixels set to a value.

    Attributes:
        chosen: bool ``(N, 1, H, W)``, the pixels.
        values: what they are set to, ``(N, 1, H, W)``.
    """

    chosen: Tensor
    values: Tensor

    def apply(self, images: Tensor) -> Tensor:
        """Give ``images`` ``(N, C, H, W)`` with the pixels set."""
        return torch.where(self.chosen, self.values.to(images.dtype), images)


@dataclass(frozen=True)
class Composed:
    """Operators one after the other, the first of ``parts`` first."""

    parts: Sequence[Operator]

    def apply(self, images: Tensor) -> Tensor:
        """Give ``images`` ``(N, C, H, W)`` corrupted by all of them."""
        for part in self.parts:
            images = part.apply(images)
        return images

    @property
    def noise_level(self) -> Tensor | None:
        """The level of the last noise; what comes after it may change it."""
        found = [level for part in self.parts if (level := noise_level(part)) is not None]
        return found[-1] if found else None

    @property
    def mask(self) -> Tensor | None:
        """Pixels that any part hides, where all parts hide pixels and leave the others intact."""
        return _any([getattr(part, "mask", None) for part in self.parts])

    @property
    def chosen(self) -> Tensor | None:
        """Pixels that any part chose, where all parts leave the others intact."""
        return _any([chosen_pixels(part) for part in self.parts])


def noise_level(operator: Any) -> Tensor | None:
    """Give the noise's standard deviation for images in [0, 1], ``(N,)``; None without noise."""
    level: Tensor | None = getattr(operator, "noise_level", None)
    return level


def chosen_pixels(operator: Any) -> Tensor | None:
    """Give bool ``(N, 1, H, W)``, the pixels that were chosen; None where all were changed."""
    mask: Tensor | None = getattr(operator, "mask", None)
    chosen: Tensor | None = getattr(operator, "chosen", None)
    return mask if chosen is None else chosen


def _any(masks: Sequence[Tensor | None]) -> Tensor | None:
    found = [mask for mask in masks if mask is not None]
    return torch.stack(found).any(dim=0) if len(found) == len(masks) else None
