"""Whether weights fit a network, tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor


def misfits(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """Give which tensors are missing, left over or of another shape; empty where all fit."""
    shapes = [
        f"{name} {tuple(found[name].shape)} for {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in found and found[name].shape != tensor.shape
    ]
    problems = {
        "missing": sorted(wanted.keys() - found.keys()),
        "left over": sorted(found.keys() - wanted.keys()),
        "of another shape": shapes,
    }
    return "; ".join(f"{what}: {_some(names)}" for what, names in problems.items() if names)


def _some(names: Iterable[str], most: int = 6) -> str:
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more
