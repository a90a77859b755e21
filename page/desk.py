"""Between the page and those who make images for it: what is offered, asked for and given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

Watcher = Callable[[int, Tensor, Tensor], None]
"""Told (step, state, images) of images in the making; see ``ImageModule.watcher``."""


@dataclass(frozen=True)
class TaskFacts:
    """A task that a run can do.

    Attributes:
        needs_image: whether an image must be given.
        settings: its settings that the page sets, with their usual values.
        steps: in how many steps the run does it, or None where that is no setting of it.
    """

    needs_image: bool
    settings: Mapping[str, Any]
    steps: int | None


@dataclass(frozen=True)
class RunFacts:
    """A run that the page offers.

    Attributes:
        name: by which it is chosen.
        about: method and weights, for a person to read.
        shape: (C, H, W) of its images.
        classes: how many it can be asked for; 0 for none.
        tasks: what it can do, by name.
    """

    name: str
    about: str
    shape: tuple[int, int, int]
    classes: int
    tasks: Mapping[str, TaskFacts]


@dataclass(frozen=True)
class Request:
    """What is to be made.

    Attributes:
        task, seed, n, steps, settings: as of ``sample.py``; steps None are the run's own.
        image, mask: the bytes of image files, or None.
    """

    task: str
    seed: int
    n: int
    steps: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    image: bytes | None = None
    mask: bytes | None = None


@dataclass(frozen=True)
class Made:
    """What a run made of a request.

    Attributes:
        captions, images: of the results, the images as PNG files with their settings in them.
        seen: what the model saw of the image that was given, a PNG file, or None.
        warning: what a person should know of the results, or "".
    """

    captions: Sequence[str]
    images: Sequence[bytes]
    seen: bytes | None
    warning: str


class Desk(Protocol):
    """Makes what the page asks for."""

    @property
    def runs(self) -> Mapping[str, RunFacts]:
        """The runs by name, in order."""

    def make(self, run: str, request: Request, folder: Path, watcher: Watcher) -> Made:
        """Give what ``run`` makes, in an empty ``folder``; ValueError for what it cannot."""

    def example(self, run: str, index: int) -> Tensor:
        """Give a test image of the run's data, uint8 ``(C, H, W)``; ValueError without any."""

    def explain(self, error: Exception) -> str | None:
        """Give one line for a mistake of the user; None for a bug."""
