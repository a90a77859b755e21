from __future__ import annotations

import colorsys
from typing import Any

import pytest
import torch
from torch import Tensor

from datamodules.drawing import CONTRAST, LUMA, SHAPES, draw_shapes
from tests.datamodules.test_batches import whole

LABELS = torch.arange(40) % 10


def luma(images: Tensor) -> Tensor:
    """(N, H, W) in [0, 1]."""
    return (images.float() / 255 * LUMA.view(1, 3, 1, 1)).sum(dim=1)


def test_an_image_is_a_function_of_seed_and_place_alone() -> None:
    images = draw_shapes(LABELS, 16, (3, 0))
    assert torch.equal(images[:7], draw_shapes(LABELS[:7], 16, (3, 0)))
    for other in ((4, 0), (3, 1)):
        assert (draw_shapes(LABELS, 16, other) != images).flatten(1).any(dim=1).all()


def test_splits_are_disjoint_and_the_runs_seed_changes_no_image(make: Any) -> None:
    data = make("shapes", size=300, test_size=100, validation_size=50)
    rows = {s: {x.numpy().tobytes() for x in whole(data, s)} for s in ("train", "test")}
    rows["validation"] = {x.numpy().tobytes() for x in whole(data, "validation")}
    assert [len(rows[s]) for s in ("train", "validation", "test")] == [250, 50, 100]
    assert len(set().union(*rows.values())) == 400
    same = make("shapes", size=300, test_size=100, validation_size=50, seed=9)
    assert data.fingerprint("train") == same.fingerprint("train")


@pytest.mark.parametrize("side", [16, 33])
def test_edges_are_anti_aliased(side: int) -> None:
    """A pixel holds the mean of a drawing of the same shape that is eight times as fine."""
    fine = draw_shapes(LABELS, 8 * side, (0, 0)).float()
    mean = torch.nn.functional.avg_pool2d(fine, 8)
    error = (draw_shapes(LABELS, side, (0, 0)).float() - mean).abs() / 255
    assert error.mean() < 0.005 and error.amax(dim=(1, 2, 3)).median() < 0.15


def hues(image: Tensor) -> list[float]:
    """Of the pixels that are strongly coloured, in turns."""
    pixels = (colorsys.rgb_to_hsv(*pixel) for pixel in (image.float() / 255).flatten(1).T.tolist())
    return [hue for hue, saturation, value in pixels if saturation > 0.5 and value > 0.55]


def test_the_hue_follows_from_the_class_within_a_quarter_step() -> None:
    for image, label in zip(draw_shapes(LABELS, 48, (1, 0)), LABELS.tolist(), strict=True):
        found = torch.tensor(hues(image))
        away = (found * 10 - label + 5) % 10 - 5
        assert len(found) > 30 and away.abs().median() <= 0.26


def test_the_shape_stands_out_in_grey_and_lies_inside_the_picture() -> None:
    images = draw_shapes(torch.arange(200) % 10, 32, (2, 0))
    grey = luma(images)
    border = torch.cat([grey[:, 0], grey[:, -1], grey[:, :, 0], grey[:, :, -1]], dim=1)
    spread = border.amax(dim=1) - border.amin(dim=1)
    assert spread.max() < 0.25
    farthest = (grey - border.mean(dim=1).view(-1, 1, 1)).abs().amax(dim=(1, 2))
    assert farthest.min() > CONTRAST - 0.02


def test_position_size_turn_and_background_vary() -> None:
    images = draw_shapes(torch.zeros(500, dtype=torch.int64), 32, (5, 0))
    grey = luma(images)
    shape = (grey - grey[:, :1, :1]).abs() > 0.12
    area = shape.double().mean(dim=(1, 2))
    assert area.amax() > 2.5 * area.amin() > 0
    axis = torch.arange(32.0)
    x = (shape * axis).sum(dim=(1, 2)) / shape.sum(dim=(1, 2))
    assert x.std() > 2 and grey[:, 0, 0].std() > 0.15


def test_ten_classes_in_equal_shares_and_any_size(make: Any) -> None:
    data = make("shapes", size=100, test_size=10, validation_size=0, image_size=64, channels=1)
    batch = next(iter(data.train_dataloader()))
    assert batch.images.shape == (64, 1, 64, 64)
    assert data.splits.train.labels.bincount().tolist() == [10] * len(SHAPES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 0}, "size=0 is not a positive number"),
        ({"draw_seed": -1}, "draw_seed=-1 is negative"),
        ({"num_classes": 4}, "num_classes=4, but shapes has 10"),
    ],
)
def test_what_cannot_be_drawn_is_refused(make: Any, change: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make("shapes", **change).setup()
