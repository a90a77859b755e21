"""LARS: momentum whose step is, layer by layer, in proportion to the weights (You et al. 2017)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


def trust_ratio(weight: Tensor, gradient: Tensor, coefficient: float, decay: float) -> Tensor:
    """Give a layer's own rate, ``eta |w| / (|g| + beta |w|)`` (You et al. 2017, equation 6).

    It is 1 where a norm is 0: a layer of zeros would never leave them.
    """
    size, slope = weight.norm(), gradient.norm()
    ratio = coefficient * size / (slope + decay * size)
    return torch.where((size > 0) & (slope > 0), ratio, torch.ones_like(ratio))


class LARS(Optimizer):
    """SGD with momentum whose gradients are scaled by :func:`trust_ratio`.

    As linear probes of self-supervised models use it (Chen et al. 2020; He et al. 2022, table 10):
    vectors, which are biases and norms, take plain momentum steps without decay, and the learning
    rate multiplies the momentum rather than entering it, so that a schedule acts at once.

    Args:
        params: parameters, named or not, or groups of them.
        lr: global learning rate, gamma in the paper, of groups without one of their own.
        momentum: in [0, 1).
        weight_decay: beta in the paper.
        trust_coefficient: eta in the paper.

    Raises:
        ValueError: for a setting out of its range.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.1,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 0.001,
    ) -> None:
        if lr < 0 or weight_decay < 0 or trust_coefficient <= 0 or not 0 <= momentum < 1:
            raise ValueError(
                f"bad settings of LARS: {lr=}, {momentum=}, {weight_decay=}, {trust_coefficient=}; "
                "expected rates of 0 or more, momentum in [0, 1), trust_coefficient above 0"
            )
        settings = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(params, {**settings, "trust_coefficient": trust_coefficient})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step; give what ``closure`` gives."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    def _update(self, weight: nn.Parameter, group: dict[str, Any]) -> None:
        gradient = weight.grad
        assert gradient is not None
        if weight.ndim > 1:
            decay = group["weight_decay"]
            ratio = trust_ratio(weight, gradient, group["trust_coefficient"], decay)
            gradient = ratio * (gradient + decay * weight)
        state = self.state[weight]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(weight)
        state["momentum"].mul_(group["momentum"]).add_(gradient)
        weight.sub_(state["momentum"], alpha=group["lr"])
