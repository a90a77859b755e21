"""Images in the making, as a model shows them while it works."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from threading import Event
from typing import Generic, TypeVar

from torch import Tensor

from functional.images import to_uint8

FRAMES = 48
"""Kept of an image at most, evenly spread over its steps."""

T = TypeVar("T")


class Stopped(RuntimeError):
    """Nobody waits for the images any more."""


class Film:
    """Keeps what it is told of images in the making; a ``desk.Watcher``.

    Attributes:
        images: of each image the frames so far, uint8 ``(C, H, W)``.
        latest: of each image the last one told.
    """

    def __init__(self) -> None:
        self.images: list[list[Tensor]] = []
        self.latest: list[Tensor] = []
        self._first, self._last, self._every = 0, 0, 1
        self._stop = Event()

    def __call__(self, step: int, state: Tensor, images: Tensor) -> None:
        if self._stop.is_set():
            raise Stopped
        if not self.images or step <= self._last:  # other images begin
            self._first, self._every = len(self.images), 1
            self.images += [[] for _ in images]
            self.latest += list(to_uint8(images).cpu())
        self._last = step
        pixels = to_uint8(images).cpu()
        self.latest[self._first :] = list(pixels)
        if step % self._every == 0:
            for frames, frame in zip(self.images[self._first :], pixels, strict=True):
                frames.append(frame)
            if len(self.images[self._first]) == FRAMES:
                self._every *= 2
                for frames in self.images[self._first :]:
                    del frames[1::2]

    def stop(self) -> None:
        """End the making at its next step."""
        self._stop.set()

    def strip(self, index: int, count: int) -> list[Tensor]:
        """Give ``count`` frames of an image at most, from the first to the last."""
        frames = self.images[index] if index < len(self.images) else []
        if len(frames) <= count:
            return list(frames)
        last = len(frames) - 1
        return [frames[round(k * last / (count - 1))] for k in range(count)]


class Unfolding(Generic[T]):
    """Work in a thread of its own, looked at while it goes on.

    Args:
        work: what is done; it is given the film that it is to be watched by.
        pause: seconds between two looks.
    """

    def __init__(self, work: Callable[[Film], T], pause: float = 0.2) -> None:
        self.film, self._pause = Film(), pause
        self._pool = ThreadPoolExecutor(1)
        self._future = self._pool.submit(work, self.film)

    def looks(self) -> Iterator[Film]:
        """Yield the film now and then until the work is done; left early, the work is ended."""
        try:
            while not self._future.done():
                try:
                    self._future.exception(self._pause)
                except NotYet:
                    yield self.film
        finally:
            self.film.stop()
            self._pool.shutdown(wait=False)

    def result(self) -> T:
        """Give what the work gave, or raise what it raised."""
        return self._future.result()
