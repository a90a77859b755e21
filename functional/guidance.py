"""Classifier-free guidance (Ho & Salimans 2022): two estimates become one."""

from __future__ import annotations

import torch
from torch import Tensor


def guide(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """Give ``unconditional + scale * (conditional - unconditional)``, as they.

    Of estimates of x_0, of eps or of v alike, since each is affine in the others at one x_t.
    ``scale`` 1 is the conditional model, 0 the unconditional one; Ho & Salimans' w is scale - 1.
    """
    return torch.lerp(unconditional, conditional, scale)


def rescale_guidance(guided: Tensor, conditional: Tensor, amount: float) -> Tensor:
    """Give ``guided`` with the standard deviation of each image drawn to ``conditional``'s.

    Guidance overexposes; this takes it back (Lin et al. 2023, section 3.4, eq. 15-16).

    Args:
        guided, conditional: estimates ``(N, ...)`` of one quantity.
        amount: phi, 0 for none and 1 for the whole; 0.7 in the paper.

    Raises:
        ValueError: for an amount outside [0, 1].
    """
    if not 0 <= amount <= 1:
        raise ValueError(f"guidance rescale {amount} lies outside [0, 1]")
    dims = tuple(range(1, guided.ndim))
    ratio = conditional.std(dims, keepdim=True) / guided.std(dims, keepdim=True)
    return guided * (amount * ratio + (1 - amount))
