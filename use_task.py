"""A task of ``sample.py`` on images that are given: from settings to a model and to files."""

from __future__ import annotations

import copy
import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.errors import InstantiationException
from omegaconf import DictConfig

import command_line
import config
import experiment
import run_folder
import schema_check
import use_run
from config import ConfigError, nearest

if TYPE_CHECKING:
    from torch import Tensor

    from lightning_modules.base import ImageModule
    from tasks.base import ImageShape, ImageTask
    from tasks.sources import Skipped, Source

FRAME = ("task", "n", "input", "output", "overwrite", "restoring", "tasks")
SHOWN = 3


def edit(cfg: DictConfig) -> Path:
    """Do ``cfg.task`` to the images of ``cfg.input``; give the folder of the results.

    What can be refused is refused before the model is loaded, the rest before an image is made.

    Raises:
        ValueError: for such mistakes; and at the end for files of a folder that were left out.
    """
    from tasks.sources import find_sources

    asked = use_run.read_request(cfg)
    task, output = build_task(asked), output_folder(asked)
    check_way(asked, task.capability)
    check_one_process(asked["trainer"])
    shape = image_shape(run_folder.read(Path(asked["run"])).config)
    if asked["input"] is not None:
        sources, skipped = find_sources(asked["input"], output)
    elif task.needs_images:
        raise ConfigError(f"task={asked['task']} of which images? give input=FILE or input=FOLDER/")
    else:
        sources, skipped = [], []
    task.check(sources, shape)
    opened = use_run.open_run(cfg)
    if warning := check_model(opened, task):
        print(f"warning: {warning}", flush=True)
    output.mkdir(parents=True, exist_ok=True)
    print(opened.about, flush=True)
    found = write_results(opened, task, sources, skipped, output)
    kept = f", {found['kept']} were there with the same settings" if found["kept"] else ""
    print(f"wrote {found['made']} images to {output}{kept}")
    if skipped:
        raise ConfigError(left_out(skipped, found["images"]))
    return output


def write_results(
    opened: use_run.RunInUse,
    task: ImageTask,
    sources: list[Source],
    skipped: list[Skipped],
    output: Path,
) -> dict[str, Any]:
    """Make and write the results; give the record. Files left out are added to ``skipped``."""
    from tasks.interpolation import Interpolate, image_ways, run_ways, sample_ways
    from tasks.outputs import OutputFolder
    from tasks.running import Work, read_in, run

    seed, n = opened.asked["seed"], opened.asked["n"]
    settings = about(opened, way_of(opened.module, task), task.settings())
    folder = OutputFolder(output, opened.asked["overwrite"])
    if isinstance(task, Interpolate):
        given = opened.asked["input"] is not None
        images = read_in(task, sources, opened.module.image_shape, skipped)
        task.check_number(len(images) if given else n)
        ways = image_ways(images, settings) if given else sample_ways(seed, n, settings)
        return run_ways(opened.module, task, ways, folder, skipped)
    seeds = list(range(seed, seed + n))
    return run(Work(opened.module, task, sources, seeds, folder, settings, skipped))


def build_task(asked: dict[str, Any]) -> ImageTask:
    """Give the task with the settings that are asked for; a ConfigError where it takes them not."""
    name = asked["task"]
    node = copy.deepcopy(asked["tasks"][name])
    for key, value in given_settings(asked).items():
        if key not in node:
            takers = [other for other, known in asked["tasks"].items() if key in known]
            raise ConfigError(f"task={name} takes no {key}; {key} is for {', '.join(takers)}")
        node[key] = {**node[key], **value} if isinstance(value, dict) else value
    schema_check.check_tree(node, f"tasks.{name}")
    try:
        task: ImageTask = experiment.make(node)
    except InstantiationException as error:
        raise ConfigError(command_line.one_line(error)) from error
    return task


def given_settings(asked: dict[str, Any]) -> dict[str, Any]:
    """Give the settings of tasks that a command line set, by key."""
    found = {key: _without_null(asked[key]) for key in setting_names()}
    return {key: value for key, value in found.items() if value not in (None, {})}


def setting_names() -> list[str]:
    """Give the keys by which a command line sets tasks; ``task.KEY`` has the usual value."""
    frame = {*FRAME, *(field.name for field in dataclasses.fields(config.Use))}
    return [f.name for f in dataclasses.fields(config.Sample) if f.name not in frame]


def _without_null(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: entry for key, entry in value.items() if entry is not None}


WAYS = {"sampler": "ddim", "eta": 0, "variance": None}
"""What ``task=interpolate`` goes by, and no other."""


def check_way(asked: dict[str, Any], capability: str) -> None:
    """Refuse settings of sampling and restoring that the task would take no notice of."""
    task = asked["task"]
    given, drawn = (_without_null(asked.get(key) or {}) for key in ("restoring", "sampling"))
    if given and capability != "restore":
        raise ConfigError(f"task={task} takes no restoring.{min(given)}; tasks that restore do")
    if capability == "restore" and drawn.keys() - {"clip"}:
        raise ConfigError(
            f"task={task} takes no sampling.{min(drawn.keys() - {'clip'})}; restoring.steps and "
            "the like say how a diffusion model restores"
        )
    other = [key for key, value in WAYS.items() if drawn.get(key, value) != value]
    if capability == "interpolate" and other:
        raise ConfigError(
            f"task={task} goes by DDIM of eta 0 and takes no other sampling.{other[0]}"
        )


def check_generate(asked: dict[str, Any]) -> None:
    """Refuse settings that ``task=generate`` would take no notice of with a ConfigError."""
    check_way(asked, "sample")
    for key in [*given_settings(asked), *(["input"] if asked["input"] else [])]:
        if key != "label":
            names = [n for n, node in asked["tasks"].items() if key == "input" or key in node]
            raise ConfigError(f"task=generate takes no {key}; {key} is for {', '.join(names)}")


def task_named(name: str, known: list[str]) -> str:
    """Give ``name`` where it is a task; a ConfigError with the nearest one otherwise."""
    if name not in known:
        raise ConfigError(f"unknown task {name!r}{nearest(name, known)}")
    return name


def output_folder(asked: dict[str, Any]) -> Path:
    """Give the folder of the results; a ConfigError where it could not be written."""
    output = Path(
        os.path.abspath(Path(asked["output"] or Path(asked["run"]) / asked["task"]).expanduser())
    )
    there = next(path for path in (output, *output.parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise ConfigError(f"output={output}: cannot write to {there}; choose another folder")
    return output


def image_shape(settings: dict[str, Any]) -> ImageShape:
    """Give (C, H, W) of the images of a run, of its configuration alone."""
    data = settings["data"]
    target = schema_check.resolve_target(data["_target_"], "data")
    if getattr(target, "content", "") != "images":
        raise ConfigError("this run is of points and not of images; it can only task=generate")
    return data["channels"], data["image_size"], data["image_size"]


def about(
    opened: use_run.RunInUse, way: dict[str, Any], settings: dict[str, Any]
) -> dict[str, Any]:
    """Give what the results are of: run, weights, task and its settings, as plain values.

    ``way``: how the method does it, e.g. of :func:`way_of`.
    """
    module, asked = opened.module, opened.asked
    return {
        "task": asked["task"],
        **settings,
        "run": opened.folder.resolve().name,
        # Two folders elsewhere may have one name.
        "run_id": run_folder.read(opened.folder).id,
        "method": type(module).__name__,
        "checkpoint": run_folder.checkpoint_name(opened.folder, asked["checkpoint"]),
        "weights": asked["weights"],
        "images_seen": module.images_seen,
        **way,
        "precision": str(opened.config["trainer"]["precision"]),
    }


def way_of(module: ImageModule, task: ImageTask) -> dict[str, Any]:
    """Give how the method does what the task asks of it, where it can be done in several ways."""
    if task.capability != "restore":
        return {"sampling": task.sampling_record(module)}
    restoring = getattr(module, "restoring", None)
    if restoring is None:
        return {}
    sampling = getattr(module, "sampling", None)
    clip = getattr(sampling, "clip", None)
    return {"restoring": restoring.name, "spacing": restoring.spacing, "clip": clip}


def check_one_process(trainer: dict[str, Any]) -> None:
    """Refuse several devices with a ConfigError."""
    devices = trainer["devices"]
    many = len(devices) > 1 if isinstance(devices, list) else str(devices) != "1"
    if many or trainer["num_nodes"] > 1:
        raise ConfigError(f"tasks on images run in one process; trainer.devices={devices} is more")


def check_model(opened: use_run.RunInUse, task: ImageTask) -> str | None:
    """Refuse what the run's model cannot do (ValueError); give a warning, or None."""
    from tasks.base import check_possible

    check_possible(opened.module, opened.asked["task"], task_classes(opened.asked["tasks"]))
    return task.check_model(opened.module)


def task_classes(nodes: dict[str, Any]) -> dict[str, Any]:
    """Give the class of each task by its name."""
    return {
        name: schema_check.resolve_target(node["_target_"], f"tasks.{name}")
        for name, node in nodes.items()
    }


def seen(opened: use_run.RunInUse, task: ImageTask, source: Source) -> Tensor | None:
    """Give what the model is shown of an image, uint8 ``(C, H, W)``; None where that is all."""
    import torch

    from functional.images import to_float, to_uint8

    module = opened.module
    image = to_float(task.read(source, module.image_shape)[None]).to(module.device)
    with torch.no_grad():
        shown = task.corrupted(module, image, [source])
    return None if shown is None else to_uint8(shown)[0].cpu()


def left_out(skipped: list[Skipped], done: int) -> str:
    """Give one line on the files that were left out."""
    shown = "; ".join(f"{entry.path}: {entry.reason}" for entry in skipped[:SHOWN])
    more = f"; and {len(skipped) - SHOWN} more, in result.json" if len(skipped) > SHOWN else ""
    return f"{len(skipped)} of {len(skipped) + done} images were left out: {shown}{more}"
