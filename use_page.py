"""The runs of a page, and what it asks of them: made by the same tasks as ``sample.py``'s."""

from __future__ import annotations

import importlib.util
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

import command_line
import experiment
import use_task
from config import ConfigError
from use_run import RunInUse, open_run

if TYPE_CHECKING:
    from torch import Tensor

    from page.desk import Made, Request, RunFacts, Watcher
    from page.layout import PageSettings

KEPT = 4
"""Models with another number of steps that are kept in memory."""
NOT_OF_A_PAGE = ("input", "output", "overwrite")


def check(cfg: DictConfig) -> None:
    """Refuse what the page cannot do, before any model is loaded (ConfigError)."""
    if importlib.util.find_spec("gradio") is None:
        raise ConfigError("app.py needs Gradio: pip install -e '.[app]'")
    use_task.task_named(cfg.task, ["generate", *cfg.tasks])
    for key in NOT_OF_A_PAGE:
        if cfg[key]:
            raise ConfigError(f"app.py takes no {key}: images are given and kept in the page")
    for key, low, high in (("port", 0, 65535), ("n", 1, cfg.limits.results), ("seed", 0, 2**31)):
        if cfg[key] is None or not low <= cfg[key] <= high:
            raise ConfigError(f"{key}={cfg[key]}; expected {low} to {high}")
    if min(cfg.limits.values()) <= 0:
        raise ConfigError(f"limits={dict(cfg.limits)}; expected numbers above 0")


def open_desk(cfg: DictConfig) -> RunDesk:
    """Load the runs that the command line names.

    Raises:
        ConfigError: where none is named, or one is no run of images.
    """
    folders = run_folders(cfg)
    opened = {}
    for name, folder in zip(names(folders), folders, strict=True):
        run = open_run(OmegaConf.merge(cfg, {"run": str(folder)}))  # type: ignore[arg-type]
        use_task.check_one_process(run.asked["trainer"])
        if run.content != "images":
            raise ConfigError(f"{folder} is a run of points; the page is for images")
        opened[name] = run
        print(f"{name}: {run.about}", flush=True)
    return RunDesk(opened)


def run_folders(cfg: DictConfig) -> list[Path]:
    """Give the folders that ``run`` and ``beside`` name, each of them once."""
    if OmegaConf.is_missing(cfg, "run"):
        raise ConfigError("which run? give it by run=runs/NAME")
    return list(dict.fromkeys(map(Path, [cfg.run, *cfg.beside])))


def names(folders: list[Path]) -> list[str]:
    """Give what runs are called: their folders' names, or all of the path where two have one."""
    last = [folder.resolve().name for folder in folders]
    return [
        name if last.count(name) == 1 else str(folder)
        for name, folder in zip(last, folders, strict=True)
    ]


def page_settings(cfg: DictConfig) -> PageSettings:
    """Give what the page begins with."""
    from page.layout import PageSettings

    return PageSettings(
        task=cfg.task, seed=cfg.seed, n=cfg.n, host=cfg.host, port=cfg.port,
        megabytes=cfg.limits.megabytes, results=cfg.limits.results, steps=cfg.limits.steps,
    )  # fmt: skip


class RunDesk:
    """Makes what the page asks for; a ``page.desk.Desk``.

    Args:
        opened: the runs by the names that the page knows them by.
    """

    def __init__(self, opened: Mapping[str, RunInUse]) -> None:
        self._opened = dict(opened)
        self._busy = Lock()
        self._others: dict[tuple[str, bool, int], RunInUse] = {}
        self._data: dict[str, Any] = {}
        self.runs: Mapping[str, RunFacts] = {
            name: facts(name, run) for name, run in self._opened.items()
        }

    def make(self, run: str, request: Request, folder: Path, watcher: Watcher) -> Made:
        """See ``page.desk.Desk``."""
        with self._busy:
            opened = self._of(run, request)
            opened.module.watcher = watcher
            try:
                return make(opened, request, folder)
            finally:
                opened.module.watcher = None

    def _of(self, name: str, request: Request) -> RunInUse:
        """Give the run with the steps and the settings that are asked for."""
        opened, known = self._opened[name], self.runs[name].tasks.get(request.task)
        if request.steps is not None and known and known.steps not in (None, request.steps):
            opened = self._in_steps(name, capability(opened, request.task), request.steps)
        own: dict[str, Any] = dict.fromkeys(use_task.setting_names())
        given = {"task": request.task, "seed": request.seed, "n": request.n, "overwrite": True}
        return replace(opened, asked={**opened.asked, **own, **given, **request.settings})

    def _in_steps(self, name: str, capability: str, steps: int) -> RunInUse:
        restores = capability == "restore"
        key = name, restores, steps
        if key not in self._others:
            if len(self._others) >= KEPT:
                self._others.pop(next(iter(self._others)))
            run, given = self._opened[name], {"steps": steps}
            sampling, restoring = ({}, given) if restores else (given, {})
            module = run.variant(sampling, run.asked["weights"], restoring)
            self._others[key] = replace(run, module=module)
        return self._others[key]

    def example(self, run: str, index: int) -> Tensor:
        """See ``page.desk.Desk``."""
        if run not in self._data:
            self._data[run] = experiment.build_data(self._opened[run].config)
        data = self._data[run]
        size = data.split_size("test")
        if not size:
            raise ConfigError(f"the data of {run} have no test images")
        image: Tensor = next(iter(data.uint8_batches("test", 1, index % size, size)))[0]
        return image

    def explain(self, error: Exception) -> str | None:
        """See ``page.desk.Desk``; a bug's traceback is printed."""
        if command_line.is_mistake(error):
            return command_line.one_line(error)
        traceback.print_exception(error)
        return None


def capability(opened: RunInUse, task: str) -> str:
    """Give what a task needs of a method."""
    if task == "generate":
        return "sample"
    return str(use_task.task_classes(opened.asked["tasks"])[task].capability)


def facts(name: str, opened: RunInUse) -> RunFacts:
    """Give what the page may know of a run."""
    from page.desk import RunFacts, TaskFacts
    from tasks.base import possible

    module, nodes = opened.module, opened.asked["tasks"]
    classes = use_task.task_classes(nodes)
    found = {
        task: TaskFacts(
            task != "generate" and classes[task].needs_images,
            usual_settings(opened, task),
            opened.steps(capability(opened, task)),
        )
        for task in possible(module, classes)
    }
    if "colorize" in found and module.image_shape[0] == 1:
        del found["colorize"]
    if not found:
        raise ConfigError(f"{name}: a {type(module).__name__} makes no images; choose another run")
    about = f"{type(module).__name__}, {opened.about}"
    has = int(getattr(module, "num_classes", 0))
    return RunFacts(name, about, module.image_shape, has, found)


def usual_settings(opened: RunInUse, task: str) -> dict[str, Any]:
    """Give the settings of a task as the command line has them, else as ``conf/sample.yaml``."""
    node = {"label": None} if task == "generate" else opened.asked["tasks"][task]
    asked = opened.asked
    return {
        key: value if asked.get(key) is None else asked[key]
        for key, value in node.items()
        if key not in ("_target_", "mask")
    }


def make(opened: RunInUse, request: Request, folder: Path) -> Made:
    """Give what the model makes; files are written to ``folder`` on the way."""
    from page.desk import Made
    from page.given import png, write_image, write_mask

    if request.task == "generate":
        return generated(opened, folder)
    given = folder / "given"
    given.mkdir()
    sources = []
    if request.image is not None:
        sources.append(write_image(request.image, given / "image"))
    if request.mask is not None:
        mask = write_mask(request.mask, given / "mask")
        opened.asked["mask"] = {"file": str(mask)}
    task = use_task.build_task(opened.asked)
    opened.asked["input"] = str(given) if task.needs_images else None
    if task.needs_images and not sources:
        raise ConfigError("give an image first: upload one, take a test image, or draw")
    task.check(sources, opened.module.image_shape)
    warning = use_task.check_model(opened, task) or ""
    output = folder / "results"
    found = use_task.write_results(opened, task, sources, [], output)
    files = [(output / name).read_bytes() for name in result_files(found)]
    seen = use_task.seen(opened, task, sources[0]) if sources else None
    return Made(captions(found, request), files, None if seen is None else png(seen), warning)


def generated(opened: RunInUse, folder: Path) -> Made:
    """Give images from noise, the first ``n`` of the stream that ``seed`` names."""
    from lightning_modules.generation import generate
    from page.desk import Made
    from tasks.outputs import OutputFolder

    asked, output = opened.asked, OutputFolder(folder, True)
    way = {"sampling": opened.module.sampling_record()}
    settings = use_task.about(opened, way, {"label": asked["label"]})
    files = []
    for chunk in generate(opened.module, asked["n"], asked["seed"], label=asked["label"]):
        for index, image in zip(chunk.indices.tolist(), chunk.images, strict=True):
            of = {**settings, "seed": asked["seed"], "index": index}
            files.append(output.save(f"{index:06d}", image, of).read_bytes())
    return Made([f"image {i}" for i in range(len(files))], files, None, "")


def result_files(found: dict[str, Any]) -> list[str]:
    """Give the files that a record of results names, in order."""
    outputs = [output for file in found["files"] for output in file["outputs"]]
    return [output["file"] if isinstance(output, dict) else output for output in outputs]


def captions(found: dict[str, Any], request: Request) -> list[str]:
    """Give what the results are called: by their seeds, or by their places on a way."""
    outputs = [output for file in found["files"] for output in file["outputs"]]
    if all(isinstance(output, dict) for output in outputs):
        return [f"seed {output['seed']}" for output in outputs]
    per_way = len(found["files"][0]["outputs"])
    return [
        f"{k // per_way} to {k // per_way + 1}, {k % per_way / (per_way - 1):.2f}"
        for k in range(len(outputs))
    ]
