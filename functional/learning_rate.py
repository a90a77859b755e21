"""Learning-rate schedules as functions of a step and of the share of the budget used."""

from __future__ import annotations

import math

DECAYS = ("constant", "linear", "cosine", "cosine_after_warmup")


def learning_rate_factor(step: int, warmup_steps: int, progress: float, decay: str) -> float:
    """Give the factor on the base learning rate.

    Args:
        step: optimiser steps done.
        warmup_steps: the factor grows linearly over these from 1 / warmup_steps.
        progress: share of the training budget used, in [0, 1].
        decay: "constant", "linear" (to 0), "cosine" (to 0; Loshchilov & Hutter 2017), all from the
            first step on, or "cosine_after_warmup", whose cosine begins at the end of the warm-up
            (He et al. 2022, as their code has it).
    """
    if decay not in DECAYS:
        raise ValueError(f"unknown learning-rate decay {decay!r}; known: {', '.join(DECAYS)}")
    warmup = min(1.0, (step + 1) / warmup_steps) if warmup_steps > 0 else 1.0
    progress = min(max(progress, 0.0), 1.0)
    if decay == "linear":
        return warmup * (1 - progress)
    if decay == "cosine_after_warmup":
        progress = _after_warmup(step, warmup_steps, progress)
    if decay.startswith("cosine"):
        return warmup * (1 + math.cos(math.pi * progress)) / 2
    return warmup


def _after_warmup(step: int, warmup_steps: int, progress: float) -> float:
    """Give the share used of what the warm-up leaves of a budget of step / progress steps."""
    if step <= warmup_steps:
        return 0.0
    spent = progress * warmup_steps / step
    return (progress - spent) / (1 - spent)
