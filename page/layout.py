"""The page: what it shows, and what happens when something of it is pressed."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from page import answer
from page.canvas import component, read_value, write_value
from page.controls import asked, common_tasks, disagreement, make_controls, number, shown
from page.desk import Desk, Made, Request, RunFacts
from page.film import Film, Unfolding
from page.given import brought_to_size, data_url, file_bytes, png

LARGEST_SEED = 2**31


@dataclass(frozen=True)
class PageSettings:
    """What the page begins with, where it is served, and what it takes at most.

    Attributes:
        task, seed, n: the first ones.
        host, port: where it is served.
        megabytes: of an image's file.
        results: of a run at once.
        steps: of a sampler.
    """

    task: str
    seed: int
    n: int
    host: str
    port: int
    megabytes: float
    results: int
    steps: int


class Page:
    """Answers what is pressed; nothing of a request is believed before it is checked."""

    def __init__(self, desk: Desk, settings: PageSettings) -> None:
        self.desk, self.settings = desk, settings

    def chosen(self, names: Any) -> list[RunFacts]:
        """Give the runs of these names; a ValueError for others, or runs that do not go along."""
        wanted = names if isinstance(names, list) else []
        unknown = [name for name in wanted if name not in self.desk.runs]
        if unknown:
            raise ValueError(f"no run {unknown[0]!r} is served here")
        runs = [run for name, run in self.desk.runs.items() if name in wanted]
        if why := disagreement(runs):
            raise ValueError(why)
        return runs

    def request(
        self, names: Any, task: Any, canvas: Any, seed: Any, n: Any, values: Mapping[str, Any]
    ) -> list[tuple[RunFacts, Request]]:
        """Give what is asked of each run (ValueError for what cannot be asked)."""
        runs, limits = self.chosen(names), self.settings
        if task not in common_tasks(runs):
            raise ValueError(f"choose a task: {', '.join(common_tasks(runs))}")
        seed = number("seed", seed, 0, LARGEST_SEED)
        n = number("results", n, 1, limits.results)
        steps = number("steps", values["steps"], 0, limits.steps) or None
        held, image, mask = read_value(canvas), None, None
        if runs[0].tasks[task].needs_image:
            if held.image is None:
                raise ValueError("give an image first: upload one, take a test image, or draw")
            image = file_bytes(held.image, limits.megabytes)
            if task == "inpaint":
                mask = file_bytes(held.mask, limits.megabytes)
        if task == "interpolate":
            n = max(2, n)
        return [
            (run, Request(task, seed, n, steps, asked(values, run, task), image, mask))
            for run in runs
        ]

    def make(self, *given: Any) -> Iterator[str]:
        """Yield what the page shows while runs are at work, and in the end of their results."""
        names, task, canvas, seed, n, *values = given
        done = ""
        try:
            keys = list(make_keys())
            for run, request in self.request(
                names, task, canvas, seed, n, dict(zip(keys, values, strict=True))
            ):
                row = ""
                for row in self.rows(run, request):
                    yield done + row
                done += row
        except Exception as error:
            yield done + answer.error(self.line(error))

    def rows(self, run: RunFacts, request: Request) -> Iterator[str]:
        """Yield the row of one run, the last of them that of its results."""
        begun = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="atelier-") as folder:

            def work(film: Film) -> Made:
                return self.desk.make(run.name, request, Path(folder), film)

            unfolding = Unfolding(work)
            for film in unfolding.looks():
                yield answer.in_the_making(run, film, time.perf_counter() - begun)
            made = unfolding.result()
        yield answer.results(run, request, made, unfolding.film, time.perf_counter() - begun)

    def line(self, error: Exception) -> str:
        """Give an error in one line, without the places where files were kept meanwhile."""
        told = self.desk.explain(error)
        if told is None:
            return f"something went wrong here ({type(error).__name__}); the terminal says more"
        words = [Path(w).name if tempfile.gettempdir() in w else w for w in told.split(" ")]
        return " ".join(words)

    def upload(self, names: Any, task: Any, event: gr.EventData) -> str:
        """Give the canvas with an image of the user, brought to the model's size."""

        def image(run: RunFacts) -> tuple[str, str]:
            content = file_bytes(event.data, self.settings.megabytes)
            with tempfile.TemporaryDirectory(prefix="atelier-") as folder:
                shape = (3, *run.shape[1:])
                pixels = brought_to_size(content, Path(folder, "image"), shape)
            return data_url(png(pixels)), f"brought to {shape[2]} x {shape[1]} pixels"

        return self._canvas(names, task, event, image)

    def example(self, names: Any, task: Any, event: gr.EventData) -> str:
        """Give the canvas with a test image of the run's data."""

        def image(run: RunFacts) -> tuple[str, str]:
            index = number("index", event.index, 0, LARGEST_SEED)
            return data_url(png(self.desk.example(run.name, index))), f"test image {index}"

        return self._canvas(names, task, event, image)

    def _canvas(
        self, names: Any, task: Any, event: Any, image: Callable[[RunFacts], tuple[str, str]]
    ) -> str:
        size, loaded, serial = (1, 1), None, 0
        try:
            serial = number("serial", event.serial, 0, LARGEST_SEED)
            run = self.chosen(names)[0]
            size = (run.shape[1], run.shape[2])
            loaded, note = image(run)
        except Exception as error:
            note = self.line(error)
        masking = task == "inpaint"
        return write_value(size, masking, self.settings.megabytes, serial, loaded, note)

    def update(self, names: Any, task: Any, canvas: Any) -> list[Any]:
        """Give what is shown for these runs: tasks, canvas, the controls of the task, a line."""
        try:
            runs = self.chosen(names)
        except ValueError as error:
            hidden = [gr.update(visible=False) for _ in make_keys()]
            return [gr.skip(), gr.skip(), gr.skip(), answer.error(str(error)), *hidden]
        tasks = common_tasks(runs)
        task = task if task in tasks else tasks[0]
        found, size = shown(runs, task), (runs[0].shape[1], runs[0].shape[2])
        serial = read_value(canvas).serial
        value = write_value(size, task == "inpaint", self.settings.megabytes, serial)
        return [
            gr.update(choices=labelled(tasks), value=task),
            gr.update(visible=runs[0].tasks[task].needs_image),
            value,
            "",
            *(gr.update(**found.get(key, {"visible": False})) for key in make_keys()),
        ]


def make_keys() -> Sequence[str]:
    """Give the keys of the controls, in order."""
    return (
        "strength", "noise", "corrupt", "factor", "left", "right", "top", "bottom", "place",
        "images", "label", "steps",
    )  # fmt: skip


def labelled(tasks: Sequence[str]) -> list[tuple[str, str]]:
    """Give tasks with what the page calls them."""
    return [(task.replace("_", "-").capitalize(), task) for task in tasks]


def build(desk: Desk, settings: PageSettings) -> gr.Blocks:
    """Give the page of the runs of ``desk``."""
    page, names = Page(desk, settings), list(desk.runs)
    first = desk.runs[names[0]]
    task = settings.task if settings.task in first.tasks else next(iter(first.tasks))
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    blocks: gr.Blocks = gr.Blocks(title="atelier", analytics_enabled=False)
    with blocks:
        gr.HTML(
            "<h1>atelier</h1><p>What trained models make of an image</p>",
            elem_classes="atelier-title",
        )
        with gr.Row():
            with gr.Column(scale=5, visible=first.tasks[task].needs_image) as left:
                value = write_value(first.shape[1:], task == "inpaint", settings.megabytes)
                canvas = component(value)
            with gr.Column(scale=6):
                runs = gr.CheckboxGroup(names, value=names[:1], label="Runs, side by side")
                tasks = gr.Radio(labelled(list(first.tasks)), value=task, label="Task")
                with gr.Row():
                    controls = make_controls(settings.steps)
                with gr.Row():
                    n = gr.Slider(1, settings.results, settings.n, step=1, label="Results")
                    seed = gr.Number(settings.seed, precision=0, minimum=0, label="Seed")
                with gr.Row():
                    start = gr.Button("Make", variant="primary", elem_id="make")
                    stop = gr.Button("Stop", elem_id="stop")
        shown_results = gr.HTML("", elem_id="answer", elem_classes="answer")
        follow = {
            "fn": page.update,
            "inputs": [runs, tasks, canvas],
            "outputs": [tasks, left, canvas, shown_results, *controls.values()],
            **quiet,
        }
        gr.on([blocks.load, runs.change, tasks.input], **follow)
        canvas.upload(page.upload, [runs, tasks], canvas, **quiet)
        canvas.example(page.example, [runs, tasks], canvas, **quiet)
        making = start.click(
            page.make, [runs, tasks, canvas, seed, n, *controls.values()], shown_results,
            concurrency_limit=1, **quiet,
        )  # fmt: skip
        stop.click(None, cancels=[making], api_visibility="private")
    blocks.queue(max_size=16)
    return blocks
