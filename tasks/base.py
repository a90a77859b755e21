"""The contract between tasks on given images and the command that runs them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from functional.restore_tasks import split_name
from lightning_modules.base import ImageModule
from tasks.sources import INPUT_RULE, Source, read

ImageShape = tuple[int, int, int]
"""(C, H, W) of a model's images, which are square."""


class ImageTask:
    """Something done to images with a trained model; a dataclass of its settings.

    Attributes:
        capability: what a method must have, of ``lightning_modules.base.CAPABILITIES``.
        kinds: of restoring; one of them must be among the method's usual tasks, where it names
            any. Empty for tasks that restore nothing.
        needs_images: whether images must be given.
    """

    capability: ClassVar[str]
    kinds: ClassVar[frozenset[str]] = frozenset()
    needs_images: ClassVar[bool] = True

    def check(self, sources: Sequence[Source], shape: ImageShape) -> None:
        """Refuse settings that do not fit the images or the model's ``shape`` (ValueError)."""

    def check_model(self, module: ImageModule) -> str | None:
        """Refuse settings that the model cannot follow (ValueError); give a warning, or None."""
        return None

    def read(self, source: Source, shape: ImageShape) -> Tensor:
        """Give uint8 ``(C, H, W)``, the image as the task begins with it."""
        return read(source, shape[0], shape[1])

    def files(self, source: Source) -> list[Path]:
        """Give the files that results of an image are made of."""
        return [source.path]

    def corrupted(
        self, module: ImageModule, images: Tensor, sources: Sequence[Source]
    ) -> Tensor | None:
        """Give what the model is shown of ``images`` ``(N, C, H, W)``, or None for all of them."""
        return None

    def results(
        self, module: ImageModule, images: Tensor, sources: Sequence[Source], seeds: Sequence[int]
    ) -> Tensor:
        """Give ``(N, C, H, W)`` in [-1, 1], of image i and ``seeds[i]``."""
        raise NotImplementedError

    def sampling_record(self, module: ImageModule) -> dict[str, Any]:
        """Give how the method draws an image of this task, and the evaluations it spends on it."""
        return module.sampling_record()

    def settings(self) -> dict[str, Any]:
        """Give what sets the results apart, as plain values."""
        return {**asdict(self), "input": INPUT_RULE}  # type: ignore[call-overload]


def trained_kinds(module: ImageModule) -> set[str]:
    """Give the kinds of restoring that a method was trained for, e.g. "denoise"; none: any."""
    return {split_name(name)[0] for name in getattr(module, "restore_tasks", ())}


def can_do(module: ImageModule, task: type[ImageTask]) -> bool:
    """Tell whether the method has what the task needs."""
    if task.capability not in module.capabilities:
        return False
    trained = trained_kinds(module)
    return not task.kinds or not trained or bool(task.kinds & trained)


def possible(module: ImageModule, tasks: Mapping[str, type[ImageTask]]) -> list[str]:
    """Give the names of the tasks that the method can do, "generate" among them."""
    generate = ["generate"] if "sample" in module.capabilities else []
    return generate + [name for name, task in tasks.items() if can_do(module, task)]


def check_possible(module: ImageModule, name: str, tasks: Mapping[str, type[ImageTask]]) -> None:
    """Refuse a task that the run's method cannot do with a ValueError that names those it can."""
    if not can_do(module, tasks[name]):
        raise ValueError(
            f"task={name} is nothing that this run can do: {_trained_for(module)}. "
            f"It can: {_listed(possible(module, tasks))}"
        )


def _trained_for(module: ImageModule) -> str:
    name, usual = type(module).__name__, getattr(module, "restore_tasks", ())
    what = f"was trained for {_listed(usual)}" if usual else "has not learnt it"
    return f"its {name} {what}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none of them"
