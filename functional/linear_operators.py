"""Linear operators y = A x and their pseudo-inverses, for restoring with a model of images alone.

What is done to an image is linear where its operator has ``pinv``, beside ``apply``: masks
(``functional.masking.MaskOperator``), ``Grey``, ``Downsample`` and ``Blur`` of
``functional.degradation``, and :class:`Identity` here, to which noise may be added. ``y`` has the
size of an image in each of them. What stands at masked pixels, an offset, is in ``apply`` alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from functional.corruption import RANGE
from functional.operators import Composed, noise_level

Function = Callable[[Tensor], Tensor]


class LinearOperator(Protocol):
    """A and its pseudo-inverse: A A+ A = A, A+ A A+ = A+, both products symmetric."""

    def apply(self, images: Tensor) -> Tensor:
        """Give A x, without noise, of ``images`` ``(N, C, H, W)``."""

    def pinv(self, measured: Tensor) -> Tensor:
        """Give A+ y of ``measured`` ``(N, C, H, W)``."""


@dataclass(frozen=True)
class Identity:
    """A = I: what is left of an operator that adds noise alone, without the noise."""

    def apply(self, images: Tensor) -> Tensor:
        """Give ``images``."""
        return images

    def pinv(self, measured: Tensor) -> Tensor:
        """Give ``measured``."""
        return measured


def linear_operator(operator: Any) -> LinearOperator:
    """Give A of what was done to images, its noise left out; see :func:`measurement_std`.

    Raises:
        ValueError: where it is not linear up to noise that comes last.
    """
    if hasattr(operator, "pinv"):
        found: LinearOperator = operator
        return found
    if isinstance(operator, Composed):
        parts = list(operator.parts)
        before = parts[:-1] if noise_level(parts[-1]) is not None else parts
        if len(before) <= 1 and not any(noise_level(part) is not None for part in before):
            return linear_operator(before[0]) if before else Identity()
    elif noise_level(operator) is not None:
        return Identity()
    raise ValueError(
        f"{type(operator).__name__} is not linear, and a model of images alone restores what is: "
        "a mask, blur, fewer pixels, no colour, with Gaussian noise after it or alone"
    )


def measurement_std(operator: Any, like: Tensor) -> Tensor:
    """Give the standard deviation of the noise in y, ``(N, 1, 1, 1)`` of images in [-1, 1]."""
    level = noise_level(operator)
    if level is None:
        return like.new_zeros(len(like), 1, 1, 1)
    std = RANGE * level.to(like.device, like.dtype)
    return std.expand(len(like)).view(-1, 1, 1, 1)


def null_part(operator: LinearOperator, images: Tensor) -> Tensor:
    """Give (I - A+ A) x: what is in ``images`` and not in y."""
    return images - operator.pinv(operator.apply(images))


def consistent(operator: LinearOperator, images: Tensor, measured: Tensor) -> Tensor:
    """Give the nearest to ``images`` of all with A x = y; visible pixels are y's to the bit."""
    return null_part(operator, images) + operator.pinv(measured)


def spectral(operator: LinearOperator, images: Tensor, function: Function) -> Tensor:
    """Give V f(S) V^T x for A = U S V^T: a function of A^T A, applied to ``images``.

    Args:
        operator: one of several singular values has a method ``spectral``; the others have one
            beside 0, their ``gain`` or 1.
        images: ``(N, C, H, W)``.
        function: f of singular values, to broadcast with images.
    """
    own = getattr(operator, "spectral", None)
    if own is not None:
        result: Tensor = own(images, function)
        return result
    null = null_part(operator, images)
    values = torch.tensor([0.0, getattr(operator, "gain", 1.0)]).to(images.device, torch.float64)
    unseen, seen = (function(value).to(images.dtype) for value in values)
    return unseen * null + seen * (images - null)
