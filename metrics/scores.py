"""Distances and scores of feature sets without a manifold: KID and the Inception Score."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from metrics.draws import Draws, TorchDraws


class Score(NamedTuple):
    """A value with its spread over subsets: standard deviation, not of the mean."""

    mean: float
    std: float


def polynomial_kernel(x: Tensor, y: Tensor) -> Tensor:
    """Give ``(x·y / d + 1)³``, ``(n, m)`` for ``(n, d)`` and ``(m, d)`` (Bińkowski et al. 2018)."""
    base = (x @ y.T).div_(x.shape[1]).add_(1)
    return base.square().mul_(base)


def squared_mmd(x: Tensor, y: Tensor) -> Tensor:
    """Give the unbiased estimate of the squared maximum mean discrepancy; may be below zero.

    Gretton et al. 2012, equation 3, with the polynomial kernel; ``x`` ``(n, d)``, ``y`` ``(m, d)``.
    """
    n, m = len(x), len(y)
    xx, yy = polynomial_kernel(x, x), polynomial_kernel(y, y)
    within = (xx.sum() - xx.trace()) / (n * (n - 1)) + (yy.sum() - yy.trace()) / (m * (m - 1))
    return within - 2 * polynomial_kernel(x, y).mean()


def kernel_distance(
    generated: Tensor,
    real: Tensor,
    *,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
    draws: Callable[[int], Draws] = TorchDraws,
) -> Score:
    """Give KID: the squared MMD over random subsets, mean and standard deviation, in float64.

    Bińkowski et al. 2018. Subsets are drawn without replacement by ``draws(seed)``; they
    shrink to the smaller set where that has fewer than ``subset_size`` features.

    Raises:
        ValueError: where a set has fewer than two features.
    """
    size = min(subset_size, len(generated), len(real))
    if size < 2:
        raise ValueError(f"KID needs two features or more, got {len(generated)} and {len(real)}")
    drawn, values = draws(seed), []
    for _ in range(subsets):
        rows = drawn.subset(len(generated), size).to(generated.device)
        columns = drawn.subset(len(real), size).to(real.device)
        values.append(squared_mmd(generated[rows].double(), real[columns].double()))
    stacked = torch.stack(values)
    return Score(float(stacked.mean()), float(stacked.std(correction=0)))


def inception_score(
    logits: Tensor,
    *,
    splits: int = 10,
    seed: int = 0,
    draws: Callable[[int], Draws] = TorchDraws,
) -> Score:
    """Give ``exp E KL(p(y|x) ‖ p(y))``, mean and standard deviation over shuffled splits.

    Salimans et al. 2016, section 4; logits ``(n, classes)``, n >= splits, cut by ``draws(seed)``.

    Raises:
        ValueError: where n < splits.
    """
    if len(logits) < splits:
        raise ValueError(f"the Inception Score needs {splits} images or more, got {len(logits)}")
    log_p, scores = logits.double().log_softmax(dim=1), []
    for rows in draws(seed).parts(len(logits), splits):
        part = log_p[rows.to(logits.device)]
        marginal = part.exp().mean(dim=0).log()
        scores.append((part.exp() * (part - marginal)).sum(dim=1).mean().exp())
    stacked = torch.stack(scores)
    return Score(float(stacked.mean()), float(stacked.std(correction=0)))
