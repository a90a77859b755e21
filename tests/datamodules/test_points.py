"""Points in the plane, as images of two channels and one pixel."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from datamodules.points import Points, Spiral, SwissRoll, TwoModes

SETS: list[type[Points]] = [SwissRoll, Spiral, TwoModes]


def points(kind: type[Points] = SwissRoll, **changes: Any) -> Points:
    settings: dict[str, Any] = {
        "batch_size": 8, "channels": 2, "image_size": 1, "num_classes": kind.classes, "seed": 0,
        "size": 1000, "validation_size": 200, "test_size": 300, "noise": 0.02,
    }  # fmt: skip
    return kind(**{**settings, **changes})


@pytest.mark.parametrize("kind", SETS)
def test_a_batch_is_of_images_in_range_with_the_labels_of_the_set(kind: type[Points]) -> None:
    data = points(kind)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch.images.shape == (8, 2, 1, 1) and batch.images.dtype == torch.float32
    assert torch.equal(batch.images, data.points("train")[batch.indices])
    everything = torch.cat([data.points(split) for split in ("train", "validation", "test")])
    assert everything.abs().max() < 1 and 0.3 < everything.std() < 0.6
    labels = data.splits.train.labels
    assert set(labels.tolist()) == ({0, 1} if kind.classes else {-1})


def test_splits_are_apart_and_no_seed_of_a_run_changes_them() -> None:
    one, other = points(seed=0), points(seed=5)
    splits = [one.points(split) for split in ("train", "validation", "test")]
    assert [len(split) for split in splits] == [1000, 200, 300]
    assert torch.cdist(splits[0].flatten(1), splits[2].flatten(1)).min() > 0
    assert all(
        torch.equal(split, other.points(name))
        for split, name in zip(splits, ("train", "validation", "test"), strict=True)
    )
    assert (
        one.fingerprint("test")
        == other.fingerprint("test")
        != points(noise=0.1).fingerprint("test")
    )


def test_the_roll_is_a_spiral_of_archimedes_with_noise() -> None:
    """Where the angle has wound to a, the radius is 0.9 a / 4.5 pi, up to the noise."""
    x, y = points(noise=0.02).points("train").flatten(1).T.double()
    radius, angle = torch.hypot(x, y), torch.atan2(y, x)
    wound = radius / 0.9 * 4.5 * math.pi
    turns = ((wound - angle) / (2 * math.pi)).round()
    off = radius - 0.9 * (angle + 2 * math.pi * turns) / (4.5 * math.pi)
    assert 0.015 < float(off.std()) < 0.025 and off.abs().max() < 0.1
    assert radius.min() > 0.9 * 1.5 / 4.5 - 0.1 and radius.max() < 0.9 + 0.1


def test_the_two_modes_are_gaussians_of_the_stated_noise() -> None:
    data = points(TwoModes, noise=0.1, size=4000)
    for label, centre in ((0, -0.5), (1, 0.5)):
        mode = data.points("train")[data.splits.train.labels == label].flatten(1)
        torch.testing.assert_close(mode.mean(0), torch.tensor([centre, 0.0]), rtol=0, atol=0.01)
        torch.testing.assert_close(mode.std(0), torch.tensor([0.1, 0.1]), rtol=0.05, atol=0)


def test_training_on_some_points_leaves_the_others_out() -> None:
    data = points()
    data.train_on(torch.arange(0, 100))
    assert torch.equal(data.points("train"), points().points("train")[:100])
    assert data.fingerprint("train") != points().fingerprint("train")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"channels": 3}, "channels=2 and image_size=1"),
        ({"image_size": 28}, "channels=2 and image_size=1"),
        ({"test_size": 1}, "test_size=1"),
        ({"noise": 0.5}, "noise=0.5"),
    ],
)
def test_settings_that_make_no_points_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        points(**changes)


def test_classes_that_the_set_has_not_and_bytes_of_points_are_refused() -> None:
    with pytest.raises(ValueError, match="num_classes=2, but swiss_roll has 0"):
        points(num_classes=2).setup("fit")
    with pytest.raises(
        ValueError, match="swiss_roll holds points in the plane, which have no bytes"
    ):
        list(points().uint8_batches("train", 10))
