"""Which parameters decay: not those that set the scale of others or stand alone."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from torch.optim import Optimizer

EXEMPT_NAMES = ("_token", "pos_embed")


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Tell whether a parameter decays: not biases and norms (vectors), tokens and positions."""
    return parameter.ndim > 1 and not name.endswith(EXEMPT_NAMES)


def exempt_from_decay(
    optimizer: Optimizer, parameters: Iterable[tuple[str, nn.Parameter]]
) -> Optimizer:
    """Split each group of ``optimizer`` in two, the second without weight decay; give it back.

    All else of a group stays as it was, so it works for any optimiser that has not stepped yet.

    Args:
        optimizer: of ``parameters``.
        parameters: with their names, by which :func:`decays` decides.
    """
    exempt = {id(p) for name, p in parameters if not decays(name, p)}
    groups = []
    for group in optimizer.param_groups:
        for decayed in (True, False):
            chosen = [(id(p) not in exempt) == decayed for p in group["params"]]
            part = {"params": group["params"], "param_names": group.get("param_names")}
            picked = {
                key: [value for value, taken in zip(values, chosen, strict=True) if taken]
                for key, values in part.items()
                if values is not None
            }
            if any(chosen):
                decay = group["weight_decay"] if decayed else 0.0
                groups.append({**group, **picked, "weight_decay": decay})
    optimizer.param_groups[:] = groups
    return optimizer
