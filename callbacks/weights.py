"""Which weights of a checkpoint a name stands for: raw, the average in use, another profile."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from callbacks.checkpoints import read_checkpoint
from callbacks.ema_profiles import snapshots
from functional.power_ema import Profile, gamma_of, misfit, mixture_of

POWER = "power-"
TOLERANCE = 0.1
"""Largest distance of a rebuilt profile from the one asked for, over the latter's size."""

Weights = dict[str, Tensor]


def named_weights(content: dict[str, Any], run: Path, name: str) -> Weights:
    """Give what ``name`` stands for in a checkpoint, by the names of the weights; raw ones as {}.

    Args:
        content: of the checkpoint.
        run: the run folder, whose snapshots serve profiles that the checkpoint does not keep.
        name: "raw"; "ema", the average that validation used; or, of ``EMAProfiles``, "ema-<decay>"
            or "power-<sigma_rel>", rebuilt where it is not kept.

    Raises:
        ValueError: for a name that the run has not, or a profile that its snapshots cannot give.
    """
    others = content.get("ema_profiles", {}).get("averages", {})
    if name == "raw":
        return {}
    if name == "ema" and "ema" in content:
        return dict(content["ema"]["weights"])
    if name in others:
        return dict(others[name])
    if re.fullmatch(rf"{POWER}0?\.\d+", name) and _powers(others):
        return _rebuilt(content, run, float(name.removeprefix(POWER)))
    if name == "ema":
        raise ValueError(f"{run} was trained without an average; use weights=raw")
    known = ["raw", *(["ema"] if "ema" in content else []), *others]
    more = "; any other power-SIGMA_REL is rebuilt from these" if _powers(others) else ""
    raise ValueError(f"weights={name!r}; this run has {', '.join(known)}{more}")


def _powers(averages: dict[str, Weights]) -> dict[float, Weights]:
    return {
        float(name.removeprefix(POWER)): average
        for name, average in averages.items()
        if name.startswith(POWER)
    }


def _rebuilt(content: dict[str, Any], run: Path, sigma_rel: float) -> Weights:
    """Give the average of ``sigma_rel`` at the checkpoint, of its own averages and snapshots."""
    gamma_of(sigma_rel)
    updates = content["ema_profiles"]["updates"]
    kept = _powers(content["ema_profiles"]["averages"])
    files = [(path, t) for path, t in snapshots(run) if t < updates]
    profiles = [Profile(sigma, t) for _, t in files for sigma in kept]
    profiles += [Profile(sigma, updates) for sigma in kept]
    wanted = Profile(sigma_rel, updates)
    off = misfit(profiles, wanted)
    if off > TOLERANCE:
        raise ValueError(
            f"weights={POWER}{sigma_rel:g}: the {len(files)} snapshots of {run} give that profile "
            f"only to {off:.0%}; choose one nearer to {', '.join(f'{s:g}' for s in kept)}, or "
            "write snapshots more often (callbacks.ema_profiles.snapshot_every_images)"
        )
    factors = iter(mixture_of(profiles, wanted).tolist())
    total: Weights = {}
    for path, _ in files:
        averages = _powers(read_checkpoint(path)["averages"])
        for sigma in kept:
            _add(total, averages[sigma], next(factors))
    for sigma in kept:
        _add(total, kept[sigma], next(factors))
    reference = next(iter(kept.values()))
    return {name: tensor.to(reference[name].dtype) for name, tensor in total.items()}


def _add(total: Weights, average: Weights, factor: float) -> None:
    """Add ``factor`` times ``average`` in float64; what is no number keeps its latest value."""
    for name, tensor in average.items():
        if not tensor.is_floating_point():
            total[name] = tensor
        elif name in total:
            total[name].add_(tensor.double(), alpha=factor)
        else:
            total[name] = factor * tensor.double()
