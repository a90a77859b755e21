"""Augmentation of supervised training: what it does to targets, images and random numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from functional.supervised_augment import SupervisedAugment, random_resized_crop

CLASSES, LABELS = 5, torch.tensor([0, 1, 2, 3, 4, 0, 1, 2])


def augment(**changes: Any) -> SupervisedAugment:
    settings: dict[str, Any] = {
        "crop_scale": None, "rand_augment": None, "erasing": 0.0, "mixup": 0.0, "cutmix": 0.0,
        "smoothing": 0.0,
    }  # fmt: skip
    return SupervisedAugment(**{**settings, **changes})


def images(channels: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(len(LABELS), channels, 12, 12, generator=generator) * 2 - 1


EVERYTHING = {
    "crop_scale": [0.2, 1.0], "rand_augment": "rand-m9-mstd0.5", "erasing": 0.5, "mixup": 0.8,
    "cutmix": 1.0, "smoothing": 0.1,
}  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_mixed_targets_sum_to_one(seed: int) -> None:
    torch.manual_seed(seed)
    mixed, targets = augment(mixup=0.8, cutmix=1.0, smoothing=0.1)(images(), LABELS, CLASSES)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(len(LABELS)))
    assert targets.min() >= 0 and not torch.equal(mixed, images())


def test_mixup_is_the_mean_that_its_targets_say() -> None:
    torch.manual_seed(0)
    x = images()
    mixed, targets = augment(mixup=1.0)(x, LABELS, CLASSES)
    share = targets[0, LABELS[0]]  # the first image's partner, the last, is of another class
    torch.testing.assert_close(mixed[0], share * x[0] + (1 - share) * x[-1])


def test_smoothing_alone_spreads_its_share_evenly() -> None:
    x, targets = augment(smoothing=0.1)(images(), LABELS, CLASSES)
    assert torch.equal(x, images())
    torch.testing.assert_close(targets[0], torch.tensor([0.92, 0.02, 0.02, 0.02, 0.02]))


def test_without_anything_targets_are_the_labels() -> None:
    assert augment().leaves_images and augment(smoothing=0.1).leaves_images
    assert torch.equal(augment()(images(), LABELS, CLASSES)[1].argmax(dim=1), LABELS)
    assert not any(augment(**{key: EVERYTHING[key]}).leaves_images for key in list(EVERYTHING)[:5])


@pytest.mark.parametrize("channels", [1, 3])
def test_one_seed_gives_one_augmentation_and_the_batch_is_left_alone(channels: int) -> None:
    x, found = images(channels), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(augment(**EVERYTHING)(x, LABELS, CLASSES))
    assert torch.equal(x, images(channels)) and found[0][0].shape == x.shape
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])
    assert not torch.equal(found[0][0], found[2][0])


def test_crops_keep_shape_and_range_and_differ() -> None:
    x = images()[:1].repeat(8, 1, 1, 1)
    cropped = random_resized_crop(x, [0.1, 0.5])
    assert cropped.shape == x.shape and cropped.abs().max() <= 1
    assert not torch.equal(cropped[0], cropped[1])


def test_erasing_with_certainty_changes_every_image() -> None:
    erased, _ = augment(erasing=1.0)(images(), LABELS, CLASSES)
    assert ((erased != images()).flatten(1).sum(dim=1) > 0).all()


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="smoothing=1.0"):
        augment(smoothing=1.0)
    with pytest.raises(ValueError, match="crop_scale"):
        augment(crop_scale=[0.0, 1.0])
    with pytest.raises(ValueError, match="a process has 7 images"):
        augment(mixup=1.0)(images()[:7], LABELS[:7], CLASSES)
