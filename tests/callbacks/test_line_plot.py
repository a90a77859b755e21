from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from callbacks.line_plot import COLOURS, HEIGHT, WIDTH, line_plot, ticks
from callbacks.restoration_plot import charts


def places_of(picture: Image.Image, colour: str) -> np.ndarray:
    """Rows and columns ``(N, 2)`` of the pixels of a line's colour, left of the names."""
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    pixels = np.asarray(picture)[:, : WIDTH - 150].astype(int)
    return np.argwhere(np.abs(pixels - wanted).max(axis=2) < 12)


@pytest.mark.parametrize("log_x", [False, True])
def test_a_line_lies_where_its_values_are(log_x: bool) -> None:
    rising = [(1.0, 0.0), (10.0, 1.0), (100.0, 2.0)]
    falling = [(x, 2 - y) for x, y in rising]
    picture = line_plot({"a": rising, "b": falling}, "t", "x", "y", log_x=log_x)
    assert picture.size == (WIDTH, HEIGHT)
    up, down = (places_of(picture, colour) for colour in COLOURS[:2])
    left, right = up[up[:, 1].argsort()][[0, -1]]
    assert left[0] > right[0] + 200 and left[1] < 100 and right[1] > WIDTH - 200
    left, right = down[down[:, 1].argsort()][[0, -1]]
    assert left[0] < right[0] - 200
    middle = up[np.abs(up[:, 0] - (up[:, 0].max() + up[:, 0].min()) / 2) < 3][:, 1].mean()
    share = (middle - up[:, 1].min()) / (up[:, 1].max() - up[:, 1].min())
    assert share == pytest.approx(0.5 if log_x else 9 / 99, abs=0.03)


def test_a_point_that_is_not_finite_is_left_out() -> None:
    points = [(1.0, 1.0), (2.0, math.nan), (3.0, 1.0)]
    same = line_plot({"a": [points[0], points[2]]}, "t", "x", "y")
    assert np.array_equal(np.asarray(line_plot({"a": points}, "t", "x", "y")), np.asarray(same))


def test_a_range_is_shaded() -> None:
    points = {"a": [(0.0, 0.0), (10.0, 1.0)]}
    plain, shaded = (line_plot(points, "t", "x", "y", shaded=s) for s in (None, (0.0, 5.0)))
    changed = np.argwhere((np.asarray(plain) != np.asarray(shaded)).any(axis=2))[:, 1]
    width = WIDTH - 70 - 150
    assert changed.max() == pytest.approx(70 + width / 2, abs=4)


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (17.3, 29, [18, 20, 22, 24, 26, 28]), (-1, 1, None)],
)
def test_ticks_are_round_numbers_within_the_range(
    low: float, high: float, wanted: list[float] | None
) -> None:
    found = ticks(low, high)
    assert all(low - 1e-9 <= value <= high + 1e-9 for value in found) and 3 <= len(found) <= 8
    assert wanted is None or found == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("points", "log_x", "message"),
    [([(1.0, math.nan)], False, "no finite point"), ([(0.0, 1.0)], True, "no logarithm")],
)
def test_what_cannot_be_drawn_is_refused(
    points: list[tuple[float, float]], log_x: bool, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        line_plot({"a": points}, "t", "x", "y", log_x=log_x)


def test_tasks_of_several_strengths_are_charted_by_metric() -> None:
    def of(value: float) -> dict[str, dict[str, float]]:
        return {"": {"psnr": value, "ssim": 0.5}, "corrupted": {"psnr": value - 5, "ssim": 0.1}}

    scores = {"denoise-0.2": of(25), "denoise-0.5": of(20), "colorize": of(15), "jpeg-10": of(14)}
    found = dict(charts(scores, "DAE", {"denoise": (0.05, 0.8)}))
    assert set(found) == {"restore_denoise_psnr", "restore_denoise_ssim"}
