"""Points and arrows are where they belong, and films are written whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from callbacks.scatter import BLUE, GREY, MARGIN, arrows, captioned, panels, save_film, scatter


def ink(picture: Image.Image) -> tuple[float, float]:
    """The centre of what is not white, in [-1, 1] with y upwards."""
    dark = 255.0 - np.asarray(picture.convert("L"), dtype=float)
    rows, columns = np.indices(dark.shape)
    side = dark.shape[0]
    x, y = ((dark * at).sum() / dark.sum() + 0.5 for at in (columns, rows))
    return float(2 * x / side - 1), float(1 - 2 * y / side)


def test_a_point_is_drawn_at_its_place_with_y_upwards() -> None:
    picture = scatter((torch.tensor([[0.6, -0.3]]), BLUE), side=120, extent=1.2)
    np.testing.assert_allclose(ink(picture), (0.6 / 1.2, -0.3 / 1.2), atol=0.02)


def test_points_outside_are_left_out_and_points_on_each_other_darken() -> None:
    far = torch.tensor([[5.0, 0.0], [0.0, -1.3]]).view(2, 2, 1, 1)
    assert np.asarray(scatter((far, BLUE), side=60)).min() == 255
    one, many = (np.asarray(scatter((torch.zeros(n, 2), GREY), side=60)).min() for n in (1, 9))
    assert many < one < 255
    assert abs(int(many) - 150) < 15


def test_later_layers_lie_above_earlier_ones() -> None:
    here = torch.zeros(50, 2)
    top = np.asarray(scatter((here, GREY), (here, BLUE), side=61))[30, 30]
    np.testing.assert_allclose(top, BLUE, atol=4)


def test_arrows_point_where_the_field_does_and_the_longest_spans_a_cell() -> None:
    places = torch.tensor([[0.0, 0.0], [9.0, 9.0], [9.0, 9.0], [9.0, 9.0]])
    right = torch.tensor([[2.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    picture = arrows(places, right, side=120, extent=1.0)
    columns = np.flatnonzero((np.asarray(picture.convert("L")) < 200).any(axis=0))
    assert abs(columns[0] - 60) <= 2 and abs(columns[-1] - 120) <= 2
    up = ink(arrows(places, right.flip(1), side=120, extent=1.0))
    assert up[1] > 0.3 and abs(up[0]) < 0.05


def test_a_field_of_zeros_is_drawn_without_a_warning() -> None:
    assert arrows(torch.zeros(4, 2), torch.zeros(4, 2), side=30).size == (30, 30)


def test_panels_hold_every_picture_and_every_name() -> None:
    cell = Image.new("RGB", (40, 40), (200, 220, 240))
    sheet = panels([[cell, cell, cell], [cell, cell, cell]], ["up", "down"], ["a", "b", "c"])
    assert sheet.size == (MARGIN + 120, MARGIN + 80)
    pixels = np.asarray(sheet.convert("L"))
    assert pixels[:MARGIN, MARGIN:].min() < 100 and pixels[MARGIN:, :MARGIN].min() < 100
    assert np.asarray(captioned(cell, "t = 1").convert("L")).min() < 100
    assert np.asarray(cell.convert("L")).min() > 100


def test_a_film_has_every_frame_and_stays_on_the_last(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (20, 20), (40 * i, 0, 255 - 40 * i)) for i in range(5)]
    path = save_film(frames, tmp_path / "a" / "film.gif", milliseconds=70)
    with Image.open(path) as film:
        assert film.n_frames == 5 and film.info["duration"] == 70
        film.seek(4)
        assert film.info["duration"] == 1000
    assert [p.name for p in path.parent.iterdir()] == ["film.gif"]
