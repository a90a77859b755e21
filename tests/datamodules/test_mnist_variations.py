"""The variations of MNIST, from tiny files in its format, and rectangles."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from datamodules.backgrounds import LEAST_DEVIATION, dead_leaves, folder_images, patches
from datamodules.mnist_variations import rotate
from datamodules.rectangles import outlines
from tests.datamodules.test_batches import whole
from tests.datamodules.test_torchvision_sets import write_mnist

NAMES = ("mnist_basic", "mnist_rot", "mnist_bg_rand", "mnist_bg_img")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """50 random images in MNIST's files beside a background, and their pixels."""
    root = tmp_path_factory.mktemp("digits")
    (leaves,) = dead_leaves(1, 64, np.random.default_rng(0))
    Image.fromarray(leaves).save(root / "leaves.png")
    return root, np.concatenate(list(write_mnist(root).values()))


def variation(make: Any, name: str, root: Path, **changes: Any) -> Any:
    settings = {"data_dir": str(root), "download": False, "batch_size": 4, "validation_size": 5}
    if name == "mnist_bg_img":
        settings["background_folder"] = str(root)
    return make(name, **(settings | {"size": 20, "test_size": 30} | changes))


def rows(images: Tensor) -> list[bytes]:
    return [image.numpy().tobytes() for image in images]


@pytest.mark.parametrize("name", NAMES)
def test_splits_are_disjoint_and_of_the_sizes_asked_for(
    make: Any, name: str, digits: tuple[Path, np.ndarray]
) -> None:
    data = variation(make, name, digits[0])
    found = {split: rows(whole(data, split)) for split in ("train", "validation", "test")}
    assert [len(images) for images in found.values()] == [15, 5, 30]
    assert len({image for images in found.values() for image in images}) == 50
    assert rows(whole(variation(make, name, digits[0], seed=3), "test")) == found["test"]
    assert rows(whole(variation(make, name, digits[0], draw_seed=1), "test")) != found["test"]


def test_basic_has_each_digit_of_both_official_splits_once(
    make: Any, digits: tuple[Path, np.ndarray]
) -> None:
    data = variation(make, "mnist_basic", digits[0])
    found = rows(torch.cat([whole(data, "reference"), whole(data, "test")]))
    assert sorted(found) == sorted(image.tobytes() for image in digits[1])


@pytest.mark.parametrize("name", ["mnist_bg_rand", "mnist_bg_img"])
def test_a_background_lies_behind_the_digit(
    make: Any, name: str, digits: tuple[Path, np.ndarray]
) -> None:
    plain = whole(variation(make, "mnist_basic", digits[0]), "test")
    found = whole(variation(make, name, digits[0]), "test")
    assert (found >= plain).all() and (found > plain).double().mean() > 0.25


def test_noise_behind_black_is_uniform(make: Any, digits: tuple[Path, np.ndarray]) -> None:
    data = variation(make, "mnist_bg_rand", digits[0])
    black = torch.zeros(100, 1, 28, 28, dtype=torch.uint8)
    found = data.vary(black, np.random.default_rng(0)).double()
    assert found.mean().item() == pytest.approx(127.5, abs=1)
    assert found.std().item() == pytest.approx(math.sqrt((256**2 - 1) / 12), abs=0.5)


def test_turning_agrees_with_quarters_and_with_pillow() -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 1, 28, 28), np.uint8))
    quarter = torch.full((3,), math.pi / 2)
    assert (rotate(images, quarter).int() - images.rot90(1, (2, 3)).int()).abs().max() <= 1
    smooth = torch.nn.functional.avg_pool2d(images.float(), 5, 1, 2).round().to(torch.uint8)
    found = rotate(smooth, torch.full((3,), math.radians(30)))
    picture = Image.fromarray(smooth[0, 0].numpy()).rotate(30, Image.Resampling.BILINEAR)
    inside = (slice(8, 20), slice(8, 20))
    difference = found[0, 0].int().numpy() - np.asarray(picture).astype(int)
    assert np.abs(difference[inside]).max() <= 2


def test_patches_come_from_the_images_and_have_texture(tmp_path: Path) -> None:
    images = dead_leaves(2, 64, np.random.default_rng(0))
    images.append(np.full((64, 64), 77, dtype=np.uint8))
    found = patches(images, 20, 28, np.random.default_rng(1))
    assert found.double().std(dim=(2, 3), correction=0).min() >= LEAST_DEVIATION
    windows = torch.from_numpy(np.stack(images[:2])).unfold(1, 28, 1).unfold(2, 28, 1)
    assert all((windows == patch).all(dim=(3, 4)).any() for patch in found[:, 0])
    Image.fromarray(images[0]).save(tmp_path / "one.png")
    assert np.array_equal(folder_images(str(tmp_path))[0], images[0])


def test_dead_leaves_have_edges_at_all_scales() -> None:
    """Their power falls about as the square of the frequency, as that of photographs."""
    images = np.stack(dead_leaves(6, 128, np.random.default_rng(0))).astype(float)
    power = (np.abs(np.fft.fft2(images - images.mean(axis=(1, 2), keepdims=True))) ** 2).mean(0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(128), np.fft.fftfreq(128)))
    band = (frequency > 0.03) & (frequency < 0.3)
    slope = np.polyfit(np.log(frequency[band]), np.log(power[band]), 1)[0]
    assert -3.2 < slope < -1.5


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"size": 40}, ValueError, "size=40 and test_size=30 are more than the 50 digits"),
        ({"draw_seed": -1}, ValueError, "draw_seed=-1"),
        ({"background_folder": "nowhere"}, FileNotFoundError, "background_folder=null"),
        ({"data_dir": "nowhere"}, FileNotFoundError, "mnist_bg_img was not found"),
    ],
)
def test_what_cannot_be_made_is_refused(
    make: Any, change: Any, error: Any, message: str, digits: tuple[Path, np.ndarray]
) -> None:
    with pytest.raises(error, match=message):
        variation(make, "mnist_bg_img", digits[0], **change).setup()


def test_backgrounds_without_texture_or_too_small_are_refused() -> None:
    plain = [np.full((40, 40), 9, dtype=np.uint8)]
    with pytest.raises(ValueError, match="3 of 3 patches vary by less than 20 grey levels"):
        patches(plain, 3, 28, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"\(40, 40\) pixels is smaller than a patch of 50"):
        patches(plain, 3, 50, np.random.default_rng(0))


# Rectangles


def test_an_outline_is_the_border_of_its_box() -> None:
    (image,) = outlines(torch.tensor([[1, 2]]), torch.tensor([[3, 4]]), 7)
    expected = torch.zeros(7, 7, dtype=torch.uint8)
    expected[1:4, 2:6] = 255
    expected[2, 3:5] = 0
    assert torch.equal(image[0], expected)


def test_rectangles_are_deterministic_lie_inside_and_are_labelled_by_their_sides(
    make: Any,
) -> None:
    data = make("rect", size=300, test_size=400)
    pixels = torch.cat([whole(data, "reference"), whole(data, "test")])[:, 0] > 0
    labels = torch.cat([data.splits.reference.labels, data.splits.test.labels])
    height, width = pixels.any(dim=2).sum(dim=1), pixels.any(dim=1).sum(dim=1)
    assert torch.equal(labels, (height > width).long()) and 0.4 < labels.double().mean() < 0.6
    assert (height - width).abs().min() == 3 and height.max() == 28 and height.min() == 1
    perimeter = torch.where((height == 1) | (width == 1), height * width, 2 * (height + width) - 4)
    thin = torch.minimum(height, width) == 2
    assert torch.equal(pixels.sum(dim=(1, 2))[~thin], perimeter[~thin])
    again = make("rect", size=300, test_size=400, seed=5)
    assert data.fingerprint("test") == again.fingerprint("test")
    other = make("rect", size=300, test_size=400, draw_seed=1)
    assert data.fingerprint("test") != other.fingerprint("test")
    overlap = set(rows(whole(data, "train"))) & set(rows(whole(data, "validation")))
    assert len(overlap) < 5


def test_rectangles_that_cannot_differ_are_refused(make: Any) -> None:
    with pytest.raises(ValueError, match="image_size=3: expected 1 image or more"):
        make("rect", image_size=3)
