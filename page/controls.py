"""The settings of tasks on the page: which are shown, what they hold, what is asked by them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr

from page.desk import RunFacts, TaskFacts
from tasks.outpainting import PLACES

ANY_CLASS = "any"


def common_tasks(runs: Sequence[RunFacts]) -> list[str]:
    """Give the tasks that all of ``runs`` can do, in the order of the first."""
    if not runs:
        return []
    return [task for task in runs[0].tasks if all(task in run.tasks for run in runs)]


def disagreement(runs: Sequence[RunFacts]) -> str:
    """Say why ``runs`` cannot be used side by side, or ""."""
    if not runs:
        return "choose a run"
    if len({run.shape[1:] for run in runs}) > 1:
        told = "; ".join(f"{run.name} {run.shape[1]} x {run.shape[2]}" for run in runs)
        return f"these runs make images of different sizes: {told} pixels; choose runs of one size"
    if not common_tasks(runs):
        told = "; ".join(f"{run.name} can {', '.join(run.tasks)}" for run in runs)
        return f"these runs have no task in common: {told}"
    return ""


def make_controls(most_steps: int) -> dict[str, Any]:
    """Give a control for each setting of a task that the page sets, by its key."""
    return {
        "strength": gr.Slider(0, 1, 0.6, step=0.05, label="Strength", info="share of noise"),
        "noise": gr.Slider(0.05, 1, 0.5, step=0.05, label="Noise", info="standard deviation"),
        "corrupt": gr.Checkbox(True, label="Spoil the image first"),
        "factor": gr.Dropdown([2, 4], value=2, label="Factor"),
        "left": gr.Slider(0, 1, 0, step=1, label="Left"),
        "right": gr.Slider(0, 1, 0, step=1, label="Right"),
        "top": gr.Slider(0, 1, 0, step=1, label="Top"),
        "bottom": gr.Slider(0, 1, 0, step=1, label="Bottom"),
        "place": gr.Radio(list(PLACES), value="shrink", label="The image"),
        "images": gr.Slider(2, 16, 8, step=1, label="Images of a way"),
        "label": gr.Dropdown([ANY_CLASS], value=ANY_CLASS, label="Class"),
        "steps": gr.Slider(0, most_steps, 0, step=1, label="Steps", info="0: as the run has it"),
    }


def shown(runs: Sequence[RunFacts], task: str) -> dict[str, Any]:
    """Give by key what a control becomes for a task of these runs: hidden, or with its range."""
    facts = [run.tasks[task] for run in runs if task in run.tasks]
    if not facts:
        return {}
    usual, height = dict(facts[0].settings), runs[0].shape[1]
    found = {key: {"visible": True, "value": value} for key, value in usual.items()}
    for side in {"left", "right", "top", "bottom"} & found.keys():
        found[side]["maximum"] = height - 1
    if all(found.get(side, {}).get("value") == 0 for side in ("left", "right", "top", "bottom")):
        found["left"]["value"] = height // 3
    if "factor" in found:
        found["factor"]["choices"] = [k for k in (2, 3, 4, 7, 8) if height % k == 0]
    classes = min(run.classes for run in runs)
    if "label" in found and classes:
        found["label"]["choices"] = [ANY_CLASS, *map(str, range(classes))]
        label = usual["label"]
        found["label"]["value"] = ANY_CLASS if label is None else str(label)
    else:
        found.pop("label", None)
    if steps := own_steps(facts):
        found["steps"] = {"visible": True, "info": f"0: the run's own ({steps})"}
    return found


def own_steps(facts: Sequence[TaskFacts]) -> str:
    """Give in how many steps runs do a task by themselves; "" where none has such a setting."""
    return ", ".join(dict.fromkeys(str(f.steps) for f in facts if f.steps is not None))


READ: Mapping[str, Callable[[Any], Any]] = {
    "strength": float,
    "noise": float,
    "corrupt": bool,
    "factor": int,
    **dict.fromkeys(("left", "right", "top", "bottom", "images"), int),
    "place": str,
    "label": lambda value: None if value in (None, ANY_CLASS) else int(value),
}


def asked(values: Mapping[str, Any], run: RunFacts, task: str) -> dict[str, Any]:
    """Give the settings of ``task`` that the controls' ``values`` say, those it takes alone.

    Raises:
        ValueError: for what is no value of a setting.
    """
    taken = {key for key in run.tasks[task].settings if key in READ}
    if not run.classes:
        taken -= {"label"}
    found = {key: READ[key](checked(key, values[key])) for key in taken}
    return {key: value for key, value in found.items() if value is not None}


def number(name: str, value: Any, low: int, high: int) -> int:
    """Give a whole number of the page; a ValueError where it is none within [low, high]."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{name}={value}; expected a whole number from {low} to {high}")
    if value != int(value):
        raise ValueError(f"{name}={value}; expected a whole number from {low} to {high}")
    return int(value)


def checked(key: str, value: Any) -> Any:
    """Refuse what no control of the page gives (ValueError)."""
    plain = isinstance(value, bool | int | float | str) or value is None
    if not plain or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"{key} has no value that can be used; set it again")
    return value
