"""Checks every ``_target_`` of a configuration before anything is instantiated.

A configuration may come from a stranger's run folder, so what it names is held to an allow-list,
as written and as it resolves; and what it sets is held to the signature of what it names.
"""

from __future__ import annotations

import inspect
import os
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from hydra.utils import get_object

from config import ConfigError, nearest

OWN = (
    "lightning_modules", "datamodules", "callbacks", "networks", "functional", "metrics", "tasks",
)  # fmt: skip
# Classes of these packages may be named where they derive from one of the bases below.
# Functions of these only compute; those of the others read, write and start things.
PURE = ("functional", "networks")
LIBRARIES = ("torch", "torchvision", "lightning", "timm", "torchmetrics")
BASES = (
    "torch.nn.Module",
    "torch.optim.Optimizer",
    "torch.optim.lr_scheduler.LRScheduler",
    "lightning.pytorch.Trainer",
    "lightning.pytorch.Callback",
    "lightning.pytorch.loggers.logger.Logger",
    "lightning.pytorch.strategies.Strategy",
    "lightning.pytorch.profilers.Profiler",
)
MARKS = ("_target_", "_partial_", "_convert_", "_recursive_")


def check_tree(node: Any, path: str = "") -> None:
    """Check ``node`` (plain dicts, lists and values) and all below it.

    Raises:
        ConfigError: for a target that is not allowed, an unknown or missing key, a wrong type.
    """
    if isinstance(node, Mapping):
        for key, value in node.items():
            check_tree(value, f"{path}.{key}" if path else str(key))
        if "_target_" in node:
            check_settings(node, resolve_target(node["_target_"], path), path)
    elif isinstance(node, Sequence) and not isinstance(node, str):
        for i, value in enumerate(node):
            check_tree(value, f"{path}[{i}]")


def resolve_target(target: Any, path: str) -> Callable[..., Any]:
    """Give what ``target`` names, where that is allowed."""
    if not isinstance(target, str) or target.split(".")[0] not in OWN + LIBRARIES:
        raise ConfigError(
            f"{path}._target_: {target!r} is refused; a configuration may name classes of "
            f"{', '.join(OWN + LIBRARIES)} only"
        )
    try:
        found = get_object(target)
    except Exception as error:
        raise ConfigError(f"{path}._target_: cannot import {target!r} ({_short(error)})") from error
    if not _allowed(found):
        raise ConfigError(
            f"{path}._target_: {target!r} is refused; it is {getattr(found, '__module__', '?')}."
            f"{getattr(found, '__qualname__', found)}, not a class made to be configured"
        )
    return typing.cast(Callable[..., Any], found)


def _allowed(found: Any) -> bool:
    root = (getattr(found, "__module__", "") or "").split(".")[0]
    if root in OWN:
        return inspect.isclass(found) or (inspect.isfunction(found) and root in PURE)
    return inspect.isclass(found) and any(issubclass(found, get_object(base)) for base in BASES)


def check_settings(node: Mapping[str, Any], target: Callable[..., Any], path: str) -> None:
    """Check the keys and the types of ``node`` against the signature of ``target``."""
    parameters = dict(inspect.signature(target).parameters)
    given = {str(key): value for key, value in node.items() if key not in MARKS}
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for key in given:
        if key not in parameters and not open_ended:
            raise ConfigError(f"unknown key {path}.{key}{nearest(key, parameters)}")
    hints = _hints(target)
    for key, value in given.items():
        if key in hints and not fits(value, hints[key]):
            raise ConfigError(
                f"{path}.{key}={value!r} has the wrong type {type(value).__name__}; "
                f"expected {_name(hints[key])}"
            )
    if not node.get("_partial_"):
        _check_complete(parameters, given, path)


# What experiment.build gives itself, beside what the configuration says.
GIVEN_BY_BUILD = frozenset({"folder", "id", "name"})


def _check_complete(parameters: Mapping[str, Any], given: Iterable[str], path: str) -> None:
    for name, parameter in parameters.items():
        required = parameter.default is parameter.empty and parameter.kind in (
            parameter.KEYWORD_ONLY,
            parameter.POSITIONAL_OR_KEYWORD,
        )
        if required and name not in given and name not in GIVEN_BY_BUILD:
            raise ConfigError(f"{path}.{name} is missing; set it in the file that defines {path}")


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except Exception:
        # Annotations that only a type checker can resolve: keys are checked, types are not.
        return {}


def fits(value: Any, hint: Any) -> bool:
    """Tell whether a plain configuration value may be passed where ``hint`` is annotated."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, option) for option in arguments)
    if origin is typing.Literal:
        return value in arguments
    if isinstance(value, Mapping) and "_target_" in value:
        return _target_fits(value, origin or hint)
    if hint is type(None) or hint is None:
        return value is None
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (str, bool):
        return isinstance(value, hint)
    if isinstance(origin, type) and issubclass(origin, Iterable):
        return _container_fits(value, origin, arguments)
    if origin is Callable or origin is types.FunctionType:
        return callable(value)
    if not inspect.isclass(hint) or hint is Any or getattr(hint, "_is_protocol", False):
        return True
    return isinstance(value, str if issubclass(hint, os.PathLike) else hint)


def _container_fits(value: Any, origin: type, arguments: tuple[Any, ...]) -> bool:
    if issubclass(origin, Mapping):
        return isinstance(value, Mapping)
    if not isinstance(value, Sequence) or isinstance(value, str):
        return False
    element = next((a for a in arguments if a is not Ellipsis), Any)
    return all(fits(entry, element) for entry in value) if origin is not tuple else True


def _target_fits(value: Mapping[str, Any], hint: Any) -> bool:
    if value.get("_partial_"):
        return hint is Callable or getattr(hint, "__name__", "") in ("Callable", "Any")
    found = get_object(value["_target_"])
    both_classes = inspect.isclass(found) and inspect.isclass(hint) and hint is not object
    return issubclass(found, hint) if both_classes else True


def _name(hint: Any) -> str:
    return hint.__name__ if inspect.isclass(hint) else str(hint).replace("typing.", "")


def _short(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
