"""Training images cut at random: torchvision's crops, from whole files, each by its own seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import (
    Compose,
    InterpolationMode,
    RandomCrop,
    RandomResizedCrop,
    Resize,
)

from datamodules.crops import Crop, make_crop
from datamodules.store import TensorStore

PAPER = Crop("random_resized", (0.2, 1.0))


def photo(height: int = 60, width: int = 90) -> Tensor:
    """A smooth image whose pixel values say where they lie: row, column and their product."""
    row, column = torch.meshgrid(
        torch.linspace(0, 255, height), torch.linspace(0, 255, width), indexing="ij"
    )
    return torch.stack([row, column, row * column / 255]).round().to(torch.uint8)


def corners(cut: Tensor) -> tuple[float, float, float, float]:
    """(top, bottom, left, right) of the place in the photo that a cut shows, as shares of it."""
    rows, columns = (cut[:2].float() / 255).mean(dim=2)[0], (cut[:2].float() / 255).mean(dim=1)[1]
    return float(rows[0]), float(rows[-1]), float(columns[0]), float(columns[-1])


@pytest.mark.parametrize("size", [16, 48])
def test_a_resized_crop_is_the_one_that_torchvisions_transform_makes(size: int) -> None:
    theirs = RandomResizedCrop(
        size, scale=(0.2, 1.0), interpolation=InterpolationMode.BICUBIC, antialias=True
    )
    for seed in range(20):
        torch.manual_seed(seed)
        assert torch.equal(PAPER.cut(photo(), size, seed), theirs(photo()))


def test_a_crop_of_fixed_size_is_that_of_the_image_resized_to_8_7_of_the_side() -> None:
    theirs = Compose([Resize(256, InterpolationMode.BICUBIC, antialias=True), RandomCrop(224)])
    for seed in range(5):
        torch.manual_seed(seed)
        assert torch.equal(Crop("random", (0.2, 1.0)).cut(photo(), 224, seed), theirs(photo()))


def test_bicubic_on_bytes_is_that_of_pillow() -> None:
    """As the paper's code cuts, from a Pillow image."""
    picture = Image.fromarray(photo().movedim(0, 2).numpy())
    theirs = RandomResizedCrop(32, scale=(0.2, 1.0), interpolation=InterpolationMode.BICUBIC)
    torch.manual_seed(3)
    wanted = torch.from_numpy(np.asarray(theirs(picture)).copy()).movedim(2, 0)
    off = PAPER.cut(photo(), 32, 3).int() - wanted.int()
    assert off.abs().max() <= 1


def test_areas_and_aspects_lie_in_their_ranges_and_fill_them() -> None:
    image = photo(200, 200)
    boxes = [corners(PAPER.cut(image, 64, seed)) for seed in range(300)]
    sides = torch.tensor([[bottom - top, right - left] for top, bottom, left, right in boxes])
    areas, aspects = sides.prod(dim=1), sides[:, 1] / sides[:, 0]
    assert 0.17 < areas.min() < 0.25 and 0.9 < areas.max() <= 1
    assert 0.72 < aspects.min() < 0.8 and 1.25 < aspects.max() < 1.37


def test_the_global_generator_is_left_as_it_was() -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    PAPER.cut(photo(), 16, 99)
    assert torch.equal(torch.rand(3), wanted)


# In a folder of images


def write(root: Path, count: int = 20, height: int = 24, width: int = 60) -> None:
    for i in range(count):
        pixels = photo(height, width)
        pixels[2] = i
        Image.fromarray(pixels.movedim(0, 2).numpy()).save(root / f"{i:02d}.png")


def folder(make: Any, root: Path, **changes: Any) -> Any:
    settings = {"batch_size": 4, "image_size": 16, "num_workers": 0, "crop": "random_resized"}
    return make("image_folder", folder=str(root), **{**settings, **changes})


def batches(data: Any, epoch: int = 0) -> list[Any]:
    loader = data.train_dataloader()
    loader.batch_sampler.set_epoch(epoch)
    return list(loader)


def test_crops_are_a_function_of_seed_and_step_for_any_number_of_workers(
    make: Any, tmp_path: Path
) -> None:
    write(tmp_path)
    first = batches(folder(make, tmp_path, horizontal_flip=True))
    torch.seed()
    again = batches(folder(make, tmp_path, horizontal_flip=True, num_workers=2))
    for one, other in zip(first, again, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    later = batches(folder(make, tmp_path, horizontal_flip=True), epoch=1)
    by_image = {int(i): x for b in first for i, x in zip(b.indices, b.images, strict=True)}
    for batch in later:
        for index, image in zip(batch.indices.tolist(), batch.images, strict=True):
            assert index not in by_image or not torch.equal(by_image[index], image)


def test_crops_are_of_the_whole_image_and_not_of_its_centre(make: Any, tmp_path: Path) -> None:
    write(tmp_path)
    seen = torch.cat([b.images[:, 1] for e in range(4) for b in batches(folder(make, tmp_path), e)])
    columns = (seen + 1) / 2
    # The central square of 24 x 60 pixels spans the columns from 0.3 to 0.7.
    assert columns.min() < 0.1 and columns.max() > 0.9


def test_held_out_and_reference_images_are_cut_at_the_centre(make: Any, tmp_path: Path) -> None:
    write(tmp_path)
    cut, plain = folder(make, tmp_path), folder(make, tmp_path, crop="center", in_memory=True)
    for split in ("train", "validation", "test", "reference"):
        pairs = zip(cut.uint8_batches(split, 5), plain.uint8_batches(split, 5), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)
    assert torch.equal(*(next(iter(d.test_dataloader())).images for d in (cut, plain)))
    assert (cut.augments, plain.augments) == (True, False)
    assert cut.fingerprint("reference") == folder(
        make, tmp_path, crop="center", in_memory=False
    ).fingerprint("reference")


def test_a_part_of_the_training_images_is_cut_too(make: Any, tmp_path: Path) -> None:
    write(tmp_path)
    data = folder(make, tmp_path)
    data.train_on(torch.arange(8))
    first, second = batches(data)
    assert first.images.shape == second.images.shape == (4, 3, 16, 16)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop": "centre"}, "crop='centre' is unknown; use one of center, random, random_resized"),
        ({"crop_scale": [0.0, 1.0]}, r"crop_scale=\[0.0, 1.0\]; expected two shares"),
        ({"crop_scale": [0.9, 0.2]}, "smaller one first"),
        ({"crop_scale": [0.2]}, "expected two shares"),
        ({"in_memory": True}, "in_memory=True holds them cut already; set data.in_memory=auto"),
    ],
)
def test_crops_that_cannot_be_are_refused(
    make: Any, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        folder(make, tmp_path, **changes)


def test_images_in_memory_cannot_be_cut_again() -> None:
    store = TensorStore(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(2))
    with pytest.raises(NotImplementedError, match="cut already"):
        store.crops(torch.arange(2), torch.arange(2))


def test_without_a_random_crop_no_seed_is_drawn(make: Any, tmp_path: Path) -> None:
    write(tmp_path)
    assert not make_crop("center", [0.2, 1.0]).is_random
    plain = folder(make, tmp_path, crop="center")
    assert all(plan.crop is None for plan in plain.train_dataloader().batch_sampler)
