"""Images in the making: what is kept of them, looked at, and ended."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
import torch

from page.film import FRAMES, Film, Stopped, Unfolding


def told(film: Film, step: int, *levels: float) -> None:
    images = torch.tensor(levels, dtype=torch.float32).view(-1, 1, 1, 1)
    film(step, images, images)


def test_a_film_keeps_frames_spread_over_all_steps_and_not_many() -> None:
    film = Film()
    for step in range(500):
        told(film, step, step / 250 - 1)
    frames = [int(frame) for frame in film.images[0]]
    assert FRAMES // 2 <= len(frames) <= FRAMES
    gaps = {b - a for a, b in pairwise(frames)}
    assert frames[0] == 0 and max(gaps) - min(gaps) <= 1 and frames[-1] > 240
    strip = [int(frame) for frame in film.strip(0, 5)]
    assert len(strip) == 5 and strip[0] == frames[0] and strip[-1] == frames[-1]


def test_images_that_are_made_after_others_have_films_of_their_own() -> None:
    film = Film()
    for step in (0, 1, 2):
        told(film, step, -1, 0)
    for step in (0, 1):
        told(film, step, 1)
    assert [len(frames) for frames in film.images] == [3, 3, 2]
    assert [int(image) for image in film.latest] == [0, 128, 255]
    assert film.strip(7, 5) == []


def test_work_that_nobody_looks_at_any_more_ends_at_its_next_step() -> None:
    ended = []

    def work(film: Film) -> None:
        try:
            for step in range(10_000):
                told(film, step, 0)
                time.sleep(0.001)
        except Stopped:
            ended.append(step)
            raise

    unfolding = Unfolding(work, pause=0.01)
    looks = unfolding.looks()
    assert next(looks) is unfolding.film
    looks.close()
    with pytest.raises(Stopped):
        unfolding.result()
    assert ended and ended[0] < 9_999


def test_what_the_work_raises_is_raised_where_its_result_is_asked_for() -> None:
    def work(film: Film) -> None:
        raise ValueError("no such image")

    unfolding = Unfolding(work)
    list(unfolding.looks())
    with pytest.raises(ValueError, match="no such image"):
        unfolding.result()
