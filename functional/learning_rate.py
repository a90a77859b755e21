"""Learning-rate schedules as functions of a step and of the share of the budget used."""

from __future__ import annotations

import math

DECAYS = ("constant", "linear", "cosine")


def learning_rate_factor(step: int, warmup_steps: int, progress: float, decay: str) -> float:
    """Give the factor on the base learning rate.

    Args:
        step: optimiser steps done.
        warmup_steps: the factor grows linearly over these from 1 / warmup_steps.
        progress: share of the training budget used, in [0, 1].
        decay: "constant", "linear" (to 0) or "cosine" (to 0; Loshchilov & Hutter 2017).
    """
    if decay not in DECAYS:
        raise ValueError(f"unknown learning-rate decay {decay!r}; known: {', '.join(DECAYS)}")
    warmup = min(1.0, (step + 1) / warmup_steps) if warmup_steps > 0 else 1.0
    progress = min(max(progress, 0.0), 1.0)
    if decay == "linear":
        return warmup * (1 - progress)
    if decay == "cosine":
        return warmup * (1 + math.cos(math.pi * progress)) / 2
    return warmup
