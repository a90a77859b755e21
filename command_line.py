"""What the commands have in common: one clear line for a mistake, and exit code 1.

``HYDRA_FULL_ERROR=1`` shows the traceback of a mistake as well.
"""

from __future__ import annotations

import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from config import nearest, register

ROOT = Path(__file__).parent
_full_traceback = False
# Jobs of a sweep in this process that failed, by their settings, and why.
_failed: list[tuple[str, str]] = []
# Mistakes of a user: their message is the help. Anything else is a bug and shows its traceback.
_EXPECTED = (ValueError, FileNotFoundError, PermissionError, NotImplementedError)


def run(main: Callable[[], Any]) -> None:
    """Call a Hydra main; an expected error ends the process with one line and exit code 1."""
    global _full_traceback
    _full_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra would print and exit by itself
    register()
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        fail(error)
    if _failed:
        lines = [f"  {job}: {why}" for job, why in _failed]
        print("\n".join([f"error: {len(_failed)} jobs failed:", *lines]), file=sys.stderr)
        sys.exit(1)


def for_the_resumed_run(arguments: list[str]) -> list[str]:
    """Give the arguments of a resume such that settings of the run's own method and data reach it.

    Beside ``resume=`` the default method and data are composed, which may have no such setting;
    the run decides (``resume_settings.merged``).
    """
    if not any(argument.startswith("resume=") for argument in arguments):
        return arguments
    own = re.compile(r"\+{0,2}(?=(?:method|data)\.[\w.]+=)")
    return [
        own.sub("++", argument, count=1) if own.match(argument) else argument
        for argument in arguments
    ]


def with_runs(arguments: Sequence[str]) -> list[str]:
    """Give a command's arguments with the words that are no settings as ``run`` and ``beside``."""
    folders, rest = list[str](), list[str]()
    for before, word in pairwise(["", *arguments]):
        own = before in _FLAGS or "=" in word or word.startswith(("-", "~"))
        if own and not word.startswith("run="):
            rest.append(word)
        else:
            folders.append(word.removeprefix("run="))
    # In quotes a folder may hold what Hydra reads as its own; "run=" came as the shell gave it.
    first, *others = [json.dumps(f, ensure_ascii=False) for f in folders] or [""]
    if f"run={''.join(folders[:1])}" in arguments:
        first = folders[0]
    beside = [f"beside=[{','.join(others)}]"] if others else []
    return [*rest, *([f"run={first}"] if folders else []), *beside]


# Of Hydra's flags those whose value is a word of its own.
_FLAGS = (
    "--cfg", "-c", "--info", "-i", "--package", "-p", "--config-path", "-cp", "--config-name",
    "-cn", "--config-dir", "-cd",
)  # fmt: skip


@contextmanager
def clear_errors() -> Iterator[None]:
    """End a single job at its error with one line.

    Of a sweep the other jobs go on, and the failures are told at its end; a job in a process of its
    own leaves word of it to the process of the sweep.
    """
    try:
        yield
    except Exception as error:
        if HydraConfig.get().mode != RunMode.MULTIRUN:
            fail(error)
        if not is_mistake(error):
            traceback.print_exception(error)
        job = " ".join(HydraConfig.get().overrides.task)
        print(f"job failed: {job}: {one_line(error)}", file=sys.stderr, flush=True)
        if in_one_process():
            note_failure(job, one_line(error))
        else:
            from job_process import tell_failure

            tell_failure(HydraConfig.get().sweep.dir, job, one_line(error))


def note_failure(job: str, reason: str) -> None:
    """Keep a failed job of a sweep to be told at its end."""
    _failed.append((job, reason))


def in_one_process() -> bool:
    """Tell whether the jobs of a sweep run one after the other in this process."""
    return "BasicLauncher" in str(HydraConfig.get().launcher.get("_target_"))


def fail(error: Exception) -> NoReturn:
    """Print what went wrong and exit with code 1: a line for a mistake, a traceback for a bug."""
    expected = is_mistake(error)
    if _full_traceback or not expected:
        traceback.print_exception(error)
    print(f"error: {one_line(error)}", file=sys.stderr, flush=True)
    sys.exit(1)


def _cause(error: BaseException) -> BaseException:
    """Give what lies behind Hydra's wrapping of an exception from a constructor."""
    while type(error).__name__ == "InstantiationException" and error.__cause__ is not None:
        error = error.__cause__
    return error


def is_mistake(error: BaseException) -> bool:
    """Tell whether an error is a mistake of the user, whose message is the help, and no bug."""
    error = _cause(error)
    package = type(error).__module__.split(".")[0]
    own = type(error).__name__ in ("CheckpointError", "NonFiniteLoss")
    return own or package in ("hydra", "omegaconf", "yaml") or isinstance(error, _EXPECTED)


def one_line(error: BaseException) -> str:
    """Give the message of ``error`` on one line, with the nearest key where Hydra names none."""
    error = _cause(error)
    text = str(error).strip()
    package = type(error).__module__.split(".")[0]
    if package in ("hydra", "omegaconf"):
        return _hydra_line(f"{text}\n{error.__cause__ or ''}")
    return " ".join(text.split()) or type(error).__name__


def _hydra_line(text: str) -> str:
    choice = re.search(r"Could not find '([^']+)'.*?Available options in '[^']+':(.*)", text, re.S)
    if choice:
        group, _, name = choice[1].partition("/")
        options = {line.strip() for line in choice[2].splitlines() if line.strip()}
        options = {o for o in options if o != "Config search path:" and "provider=" not in o}
        below = ROOT / "conf" / group
        options |= {str(f.relative_to(below).with_suffix("")) for f in below.rglob("*.yaml")}
        return f"no {group} {name!r}{nearest(name, options)}"
    missing = re.search(r"Could not override '([^']+)'", text)
    if missing:
        return f"unknown key {missing[1]}{_nearest_key(missing[1])}"
    unknown = re.search(r"Key '([^']+)' (?:not in|is not in) '?(\w+)'?", text)
    if unknown:
        full = re.search(r"full_key: (\S+)", text)
        key = full[1] if full else unknown[1]
        return f"unknown key {key}{_nearest_key(key)}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    where = next((line[9:].strip() for line in lines if line.startswith("full_key:")), "")
    reasons = [line for line in lines if not line.startswith(_FRAME)] or lines
    return f"{where}: {reasons[0]}" if where else reasons[0]


# Lines of Hydra's messages that say where and not what.
_FRAME = ("In '", "full_key:", "reference_type=", "object_type=", "Error merging override")


def _choices(arguments: Sequence[str]) -> Iterator[str]:
    """Give those of a command line's arguments that choose from a group, one choice of several."""
    for argument in arguments:
        key, _, value = argument.partition("=")
        if value and (ROOT / "conf" / key.lstrip("+").partition("@")[0]).is_dir():
            yield f"{key}={value.partition(',')[0]}"


def _nearest_key(key: str) -> str:
    """Give the hint for an unknown dotted ``key`` from what is there by the chosen groups."""
    from hydra import compose
    from hydra.core.global_hydra import GlobalHydra
    from hydra.initialize import initialize_config_dir
    from omegaconf import DictConfig, OmegaConf

    name, chosen = Path(sys.argv[0]).stem, list(_choices(sys.argv[1:]))
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            cfg = compose(
                name if (ROOT / "conf" / f"{name}.yaml").exists() else "train", overrides=chosen
            )
        node: Any = cfg
        for part in key.split("."):
            if not isinstance(node, DictConfig) or part not in node:
                break
            node = OmegaConf.select(node, part)
        return nearest(part, [str(k) for k in node]) if isinstance(node, DictConfig) else ""
    except Exception:
        return ""
