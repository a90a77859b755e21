"""Muon: momentum, made orthogonal, as the update of weight matrices (Jordan et al. 2024)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.adamw import adamw

from functional.hardware import cpu_computes_in_bf16

# Quintic Newton-Schulz coefficients: steepest at 0, singular values end in about 0.7 to 1.2.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


@cache
def iteration_dtype(device: torch.device) -> torch.dtype:
    """Give bfloat16 where ``device`` computes in it; emulated, it is twenty times slower."""
    if device.type == "cpu" and not cpu_computes_in_bf16():
        return torch.float32
    return torch.bfloat16


def orthogonalize(matrices: Tensor, steps: int = 5) -> Tensor:
    """Give matrices of the same singular vectors with singular values near 1.

    Args:
        matrices: ``(..., M, N)``; computed in bfloat16, which is enough for it, or in float32 on
            a CPU that has no instructions for bfloat16.
        steps: Newton-Schulz iterations.
    """
    a, b, c = _COEFFICIENTS
    wide = matrices.shape[-2] <= matrices.shape[-1]
    x = (matrices if wide else matrices.mT).to(iteration_dtype(matrices.device))
    shape, x = x.shape, x.reshape(-1, *x.shape[-2:])
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    x = x.view(shape)
    orthogonal: Tensor = (x if wide else x.mT).to(matrices.dtype)
    return orthogonal


class Muon(Optimizer):
    """Muon on hidden weight matrices and convolutions, AdamW on everything else.

    A convolution's weight counts as a matrix (out, in x height x width). The update is scaled to
    the root mean square of AdamW's, 0.2 (Liu et al. 2025, "Muon is scalable", eq. 4), so both
    parts share one learning-rate schedule. torch's own Muon takes two-dimensional weights only.

    Args:
        params: named parameters, so that ``adam_prefixes`` can be told apart.
        lr: of the matrices.
        adam_lr, betas, weight_decay: of AdamW on the rest; the decay is on matrices as well.
        adam_prefixes: names that begin so go to AdamW: first and last layers, embeddings.
        momentum: Nesterov.
        steps: Newton-Schulz iterations.
    """

    def __init__(
        self,
        params: Iterable[tuple[str, nn.Parameter]],
        lr: float,
        adam_lr: float,
        adam_prefixes: Sequence[str],
        betas: Sequence[float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        steps: int = 5,
    ) -> None:
        if lr < 0 or adam_lr < 0 or not 0 <= momentum < 1:
            raise ValueError(f"bad settings of Muon: {lr=}, {adam_lr=}, {momentum=}")
        prefixes = tuple(adam_prefixes)
        named = [(name, p) for name, p in params if p.requires_grad]
        matrices = [(n, p) for n, p in named if p.ndim >= 2 and not n.startswith(prefixes)]
        chosen = {name for name, _ in matrices}
        rest = [(name, p) for name, p in named if name not in chosen]
        common = {"weight_decay": weight_decay}
        groups: list[dict[str, Any]] = [
            {"params": matrices, "lr": lr, "momentum": momentum, "steps": steps, **common},
            {"params": rest, "lr": adam_lr, "betas": tuple(betas), **common},
        ]
        super().__init__([group for group in groups if group["params"]], {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Take one step; ``closure`` recomputes the loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            if "momentum" in group:
                self._step_matrices(parameters, group)
            else:
                self._step_adam(parameters, group)
        return loss

    def _step_matrices(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        gradients = [p.grad for p in parameters if p.grad is not None]
        momenta = [self._state(p, "momentum") for p in parameters]
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, momenta, group["momentum"])
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        by_shape: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for parameter, update in zip(parameters, ahead, strict=True):
            by_shape[len(update), update[0].numel()].append((parameter, update))
        for shape, members in by_shape.items():
            # The order of columns is free; with channels last this one needs no transposition.
            stacked = torch.stack([u.movedim(1, -1).reshape(shape) for _, u in members])
            scale = -group["lr"] * 0.2 * max(shape) ** 0.5
            updates = orthogonalize(stacked, group["steps"])
            for (parameter, _), update in zip(members, updates, strict=True):
                channels_last = parameter.movedim(1, -1)
                channels_last.add_(update.view(channels_last.shape), alpha=scale)

    def _step_adam(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        steps = []
        for p in parameters:
            self.state[p].setdefault("step", torch.zeros((), dtype=torch.float32))
            steps.append(self.state[p]["step"])
        adamw(
            parameters,
            [p.grad for p in parameters if p.grad is not None],
            [self._state(p, "exp_avg") for p in parameters],
            [self._state(p, "exp_avg_sq") for p in parameters],
            [],
            steps,
            foreach=True,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=1e-8,
            maximize=False,
        )

    def _state(self, parameter: Tensor, name: str) -> Tensor:
        state = self.state[parameter]
        if name not in state:
            state[name] = torch.zeros_like(parameter)
        return state[name]  # type: ignore[no-any-return]
