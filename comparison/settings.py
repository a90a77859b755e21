"""Settings of runs: which runs are one recipe under several seeds, and what sets recipes apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from comparison.runs import Run
from metrics.protocol import short_hash

Flat = dict[str, Any]
NO_PART = (
    "seed", "data.seed", "name", "notes", "tags", "group", "resume", "paths", "logger",
    "trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy",
    "callbacks.progress", "callbacks.record", "callbacks.budget", "callbacks.images",
    "callbacks.generation.cache", "callbacks.restoration.cache",
    "data.data_dir", "data.folder", "data.download", "data.num_workers", "data.resident",
)  # fmt: skip
"""What is no part of a recipe: the seed, where and on what it ran, what it showed."""
SHOWN = 3
"""Settings named at most in a recipe's label."""


def flatten(node: Any, prefix: str = "") -> Flat:
    """Give the leaves of nested dicts and lists by dotted key."""
    if isinstance(node, dict) and node:
        parts = node.items()
    elif isinstance(node, list) and any(isinstance(entry, dict) for entry in node):
        parts = {str(i): entry for i, entry in enumerate(node)}.items()
    else:
        return {prefix: node}
    return {k: v for key, part in parts for k, v in flatten(part, _join(prefix, key)).items()}


def _join(prefix: str, key: Any) -> str:
    return f"{prefix}.{key}" if prefix else str(key)


def recipe(config: dict[str, Any]) -> Flat:
    """Give the settings that decide a run's result, but for the seed."""
    return {
        key: value
        for key, value in flatten(config).items()
        if not any(key == no or key.startswith(f"{no}.") for no in NO_PART)
    }


def recipe_id(run: Run) -> str:
    """Give a short hash of a run's recipe: equal for runs that differ in their seeds alone."""
    return short_hash(recipe(run.config))


def labels(runs: Sequence[Run]) -> dict[str, str]:
    """Give by recipe id what to call it: its method, and what sets it apart from others of it.

    No two recipes have one name.
    """
    by_method: dict[str, dict[str, Flat]] = {}
    for run in runs:
        by_method.setdefault(run.method, {})[recipe_id(run)] = recipe(run.config)
    found: dict[str, str] = {}
    for method, recipes in by_method.items():
        keys = telling(list(recipes.values()))
        for id, settings in recipes.items():
            told = ", ".join(_told(key, settings, keys) for key in keys)
            name = f"{method} ({told})" if told else method
            found[id] = f"{name} {id[:6]}" if name in found.values() else name
    return found


def telling(settings: Sequence[Flat]) -> list[str]:
    """Give a few of the keys in which ``settings`` differ, such that most are told apart."""
    keys, chosen = differing(settings), list[str]()
    while len(chosen) < SHOWN and keys:
        parts = [tuple(str(flat.get(key)) for key in chosen) for flat in settings]
        if len(set(parts)) == len(settings):
            break

        def apart(key: str, parts: Sequence[tuple[str, ...]] = parts) -> int:
            values = (str(flat.get(key)) for flat in settings)
            return len(set(zip(parts, values, strict=True)))

        # Of equals the first: keys of the method come first.
        chosen.append(max(keys, key=lambda key: (apart(key), -keys.index(key))))
        keys.remove(chosen[-1])
    return chosen


def differing(settings: Sequence[Flat]) -> list[str]:
    """Give the keys in which ``settings`` are not all alike; those of the method come first."""
    keys = {key for flat in settings for key in flat}
    absent = object()
    found = [
        key
        for key in keys
        if any(s.get(key, absent) != settings[0].get(key, absent) for s in settings)
    ]
    order = ("method", "budget", "data", "trainer")
    rank = {name: place for place, name in enumerate(order)}
    return sorted(found, key=lambda key: (rank.get(key.split(".")[0], len(order)), key))


def _short(key: str, among: Sequence[str]) -> str:
    """Give the last part of ``key``, or all of it where another one ends alike."""
    last = key.rsplit(".", 1)[-1]
    return last if sum(other.rsplit(".", 1)[-1] == last for other in among) == 1 else key


def _told(key: str, settings: Flat, among: Sequence[str]) -> str:
    """Give a setting as a label names it: of a class its name alone."""
    if key not in settings:
        return f"no {_short(key, among)}"
    value = settings[key]
    text = f"{value:g}" if isinstance(value, float) else str(value)
    if key.endswith("_target_"):
        text = text.rsplit(".", 1)[-1]
    return f"{_short(key, among)}={text}"
