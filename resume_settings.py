"""The settings of a resumed run: the saved ones, and what a resume may change of them."""

from __future__ import annotations

import copy
import inspect
from typing import Any

from config import ConfigError, nearest
from schema_check import MARKS, resolve_target

# What a resumed run may change: where and how long it computes, never what it computes.
FREE = (
    "budget", "logger", "paths", "resume", "name", "tags", "notes", "group",
    "trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy",
    "callbacks.budget", "callbacks.progress", "callbacks.generation.cache",
    "data.data_dir", "data.folder", "data.download", "data.num_workers", "data.resident",
)  # fmt: skip
COPIES = {"paths.cache": "callbacks.generation.cache", "paths.data": "data.data_dir"}


def merged(saved: dict[str, Any], asked: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """Give ``saved`` with the overrides that a resume may make; refuse the others, listing them."""
    before, after = flatten(saved), flatten(asked)
    # A group's choice, group@place=choice, sets what lies at its place.
    named = [override.lstrip("+~").split("=")[0].split("@")[-1] for override in overrides]
    _check_known(saved, named)
    roots = [root for name in named for root in _roots(name)]
    touched = {
        key
        for root in roots
        for key in before.keys() | after.keys()
        if not root or _below(key, root)
    }
    changed = {key for key in touched if before.get(key) != after.get(key)}
    changed -= {key for key in changed - before.keys() if _of_old(key, saved, asked)}
    refused = sorted(key for key in changed if not _may_change(key, saved))
    if refused:
        lines = "; ".join(f"{k}: {before.get(k)!r} -> {after.get(k)!r}" for k in refused)
        raise ConfigError(f"resume refused, settings changed: {lines}. Start a new run instead")
    result = copy.deepcopy(saved)
    for free in FREE:
        _take(result, asked, free, [key for key in changed if _below(key, free)])
    # Callbacks and data hold copies, resolved when the run was made.
    if result["callbacks"].get("budget"):
        result["callbacks"]["budget"].update(result["budget"])
    for source, copied in COPIES.items():
        if source in changed and copied in before:
            _set(result, copied, after[source])
    return result


def _check_known(saved: dict[str, Any], named: list[str]) -> None:
    """Refuse a setting that the run's own method or data has not, with its nearest one."""
    for name in named:
        node: Any = saved
        for part in name.split(".") if name.startswith(("method.", "data.")) else ():
            if not isinstance(node, dict) or part not in node:
                of = saved[name.split(".")[0]]["_target_"].rsplit(".", 1)[-1]
                raise ConfigError(f"unknown key {name} of the run's {of}{_hint(part, node)}")
            node = node[part]


def _hint(part: str, node: Any) -> str:
    known = [key for key in node if key != "_target_"] if isinstance(node, dict) else []
    return nearest(part, known) if known else ""


def _of_old(key: str, saved: dict[str, Any], asked: dict[str, Any]) -> bool:
    """Tell whether ``key`` came into being after the run, and is asked for as the run has it: as
    the constructor that lacks it sets it."""
    parts, node = key.split("."), saved
    while parts and isinstance(node, dict) and parts[0] in node:
        node = node[parts.pop(0)]
    if not parts or not isinstance(node, dict) or "_target_" not in node:
        return False
    default = _defaults(node["_target_"]).get(parts[0])
    place = key.removesuffix("." + ".".join(parts[1:])) if parts[1:] else key
    return default is not None and _is_default(_get(asked, place), default.default)


def _is_default(value: Any, default: Any) -> bool:
    """Tell whether a plain ``value`` of a configuration stands for a parameter's ``default``."""
    if not isinstance(value, dict) or "_target_" not in value:
        return type(value) is type(default) and bool(value == default)
    found = resolve_target(value["_target_"], "resume")
    if type(default) is not found or vars(default) != vars(found()):
        return False
    own = _defaults(value["_target_"])
    given = {name: entry for name, entry in value.items() if name not in MARKS}
    return all(name in own and _is_default(v, own[name].default) for name, v in given.items())


def _defaults(target: str) -> dict[str, inspect.Parameter]:
    """Give the parameters of what ``target`` names that need not be given, by name."""
    parameters = inspect.signature(resolve_target(target, "resume")).parameters
    return {name: p for name, p in parameters.items() if p.default is not p.empty}


def _take(result: dict[str, Any], asked: dict[str, Any], free: str, keys: list[str]) -> None:
    """Set ``keys``, all below ``free``, as asked; all of ``free`` where it became another thing."""
    ours, theirs = _get(result, free), _get(asked, free)
    same = isinstance(ours, dict) and isinstance(theirs, dict)
    if keys and not (same and ours.get("_target_") == theirs.get("_target_")):
        _set(result, free, theirs)
        return
    for key in keys:
        _set(result, key, _get(asked, key))


def _roots(name: str) -> list[str]:
    """Give the keys that an override speaks of; the trainer's group, of where it computes alone."""
    if name in ("experiment", "debug"):
        return [""]
    if name == "trainer":
        return [free for free in FREE if free.startswith("trainer.")]
    return [] if name == "resume" else [name]


def _may_change(key: str, saved: dict[str, Any]) -> bool:
    """Tell whether a resume may set ``key``; never below what the run left out."""
    within = _get(saved, key.rpartition(".")[0])
    return within is not None and any(_below(key, free) for free in FREE)


def _below(key: str, root: str) -> bool:
    return key == root or key.startswith(root + ".")


def flatten(node: Any, prefix: str = "") -> dict[str, Any]:
    """Give the leaves of nested dicts by dotted key; lists are leaves."""
    if not isinstance(node, dict) or not node:
        return {prefix: node}
    leaves: dict[str, Any] = {}
    for key, value in node.items():
        leaves |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return leaves


def _get(node: Any, key: str) -> Any:
    """Give what lies at ``key``: None below what was left out, ``{}`` for a key not in it."""
    for part in key.split(".") if key else ():
        node = node.get(part, {}) if isinstance(node, dict) else None
    return node


def _set(node: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for part in parents:
        node = node[part]
    node[last] = value
