from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.base import SPLITS
from datamodules.batch import to_unit_range
from datamodules.preprocessing import fit_square, match_channels


def whole(data: Any, split: str) -> torch.Tensor:
    return torch.cat(list(data.uint8_batches(split, 50)))


def test_every_byte_keeps_its_value_through_the_unit_range_and_back() -> None:
    pixels = torch.arange(256, dtype=torch.uint8)
    images = to_unit_range(pixels)
    assert images.dtype == torch.float32
    assert (images.min(), images.max()) == (-1, 1)
    assert torch.equal((images * 127.5 + 127.5).round().to(torch.uint8), pixels)


def test_batches_hold_the_images_and_labels_that_their_indices_name(make: Any) -> None:
    data = make("fake", channels=3)
    stored, labels = whole(data, "train"), data.splits.train.labels
    for batch in data.train_dataloader():
        assert batch.images.shape == (64, 3, 28, 28)
        assert batch.labels.dtype == batch.indices.dtype == torch.int64
        assert torch.allclose(batch.images, stored[batch.indices] / 127.5 - 1)
        assert torch.equal(batch.labels, labels[batch.indices])


def test_flipped_images_are_mirrored_and_the_others_untouched(make: Any) -> None:
    data = make("fake", horizontal_flip=True)
    stored = whole(data, "train").float() / 127.5 - 1
    flipped = 0
    for batch in data.train_dataloader():
        original = stored[batch.indices]
        kept = (batch.images - original).abs().amax((1, 2, 3)) < 1e-6
        turned = (batch.images - original.flip(-1)).abs().amax((1, 2, 3)) < 1e-6
        assert (kept ^ turned).all()
        flipped += int(turned.sum())
    assert abs(flipped - 224) < 5 * 0.5 * 448**0.5


def test_evaluation_is_in_order_and_never_flipped(make: Any) -> None:
    data = make("fake", horizontal_flip=True)
    for split, loader in (("validation", data.val_dataloader()), ("test", data.test_dataloader())):
        batches = list(loader)
        images = torch.cat([batch.images for batch in batches])
        assert torch.allclose(images, whole(data, split) / 127.5 - 1)
        assert torch.equal(
            torch.cat([batch.indices for batch in batches]), torch.arange(data.split_size(split))
        )


def test_validation_is_held_out_of_training_and_the_reference_has_both(make: Any) -> None:
    data = make("fashion_mnist_mini")
    rows = {split: [row.numpy().tobytes() for row in whole(data, split)] for split in SPLITS}
    assert sorted(rows["train"] + rows["validation"]) == sorted(rows["reference"])
    assert [len(rows[split]) for split in SPLITS] == [9500, 500, 2000, 10000]


def test_held_out_images_do_not_depend_on_the_seed(make: Any) -> None:
    assert torch.equal(
        whole(make("fake", seed=1), "validation"), whole(make("fake", seed=2), "validation")
    )


def test_without_validation_there_is_no_batch(make: Any) -> None:
    data = make("fake", validation_size=0)
    assert list(data.val_dataloader()) == []
    assert data.split_size("train") == 512


def test_shares_of_uint8_batches_make_up_the_split(make: Any) -> None:
    data = make("fake")
    shares = [torch.cat(list(data.uint8_batches("test", 7, rank, 3))) for rank in range(3)]
    together = torch.empty_like(whole(data, "test"))
    for rank, share in enumerate(shares):
        together[rank::3] = share
    assert torch.equal(together, whole(data, "test"))


def test_processes_of_a_trainer_share_the_global_batch(make: Any) -> None:
    data = make("fake")
    expected = [batch.indices for batch in data.train_dataloader()]
    parts = []
    for rank in range(2):
        data.trainer = SimpleNamespace(global_rank=rank, world_size=2, training=False)
        parts.append([batch.indices for batch in data.train_dataloader()])
    for together, first, second in zip(expected, *parts, strict=True):
        assert torch.equal(together, torch.cat([first, second]))


def test_a_batch_that_does_not_fit_is_refused_before_training(make: Any) -> None:
    data = make("fake", batch_size=1000)
    data.setup("test")
    with pytest.raises(ValueError, match="batch_size=1000 exceeds the training set of 448 images"):
        data.setup("fit")


def test_an_order_of_other_images_is_not_gone_on_with(make: Any) -> None:
    with pytest.raises(ValueError, match="has 448 images, but 440 when the run was stopped"):
        make("fake").load_state_dict({"epoch": 1, "batch": 2, "images": 440})
    make("fake").load_state_dict({"epoch": 1, "batch": 2, "images": 448})


def test_fingerprint_tells_content_and_shape_apart_but_not_the_run(make: Any) -> None:
    data = make("fake")
    same = make("fake", seed=9, batch_size=16, horizontal_flip=True)
    others = [make("fake", image_size=14), make("fake", channels=3), make("fake", size=500)]
    prints = {split: data.fingerprint(split) for split in SPLITS}
    assert prints == {split: same.fingerprint(split) for split in SPLITS}
    assert len({*prints.values(), *(other.fingerprint("reference") for other in others)}) == 7
    assert all(len(value) == 64 for value in prints.values())


def test_resize_and_crop_agree_with_pillow() -> None:
    random = np.random.RandomState(0)
    coarse = Image.fromarray(random.randint(0, 256, (9, 7, 3), dtype=np.uint8))
    image = coarse.resize((90, 70), Image.Resampling.BICUBIC)
    square = image.crop((10, 0, 80, 70))
    expected = np.asarray(square.resize((32, 32), Image.Resampling.BICUBIC)).astype(int)
    found = fit_square(torch.from_numpy(np.array(image)).permute(2, 0, 1), 32)
    assert found.dtype == torch.uint8
    assert np.abs(found.permute(1, 2, 0).numpy() - expected).max() <= 1


def test_images_of_the_right_shape_are_not_touched() -> None:
    pixels = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    assert fit_square(pixels, 8) is pixels
    assert match_channels(pixels, 3) is pixels


def test_grey_is_pillows_luma_and_colour_from_grey_repeats_it() -> None:
    pixels = torch.randint(0, 256, (3, 40, 40), dtype=torch.uint8)
    grey = np.asarray(Image.fromarray(pixels.permute(1, 2, 0).numpy()).convert("L")).astype(int)
    found = match_channels(pixels, 1)
    assert np.abs(found[0].numpy() - grey).max() <= 1
    assert torch.equal(match_channels(match_channels(found, 3), 1), found)


def test_a_real_set_is_given_in_other_shapes(make: Any) -> None:
    data = make("fashion_mnist_mini", channels=3, image_size=16)
    batch = next(iter(data.test_dataloader()))
    assert batch.images.shape == (64, 3, 16, 16)
    assert torch.equal(batch.images[:, 0], batch.images[:, 2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": 4}, r"channels=4, but the images of fashion_mnist_mini have 1"),
        ({"num_classes": 7}, r"num_classes=7, but fashion_mnist_mini has 10"),
        ({"validation_size": 10001}, r"validation_size=10001 must lie between 0 and 10000"),
    ],
)
def test_settings_that_do_not_match_the_data_name_both(
    make: Any, change: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make("fashion_mnist_mini", **change).setup()


@pytest.mark.parametrize(
    "change", [{"seed": -1}, {"image_size": 0}, {"resident": "disk"}, {"size": 0}]
)
def test_impossible_settings_are_refused_by_name(make: Any, change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        make("fake", **change)


def test_unknown_split_is_refused(make: Any) -> None:
    with pytest.raises(ValueError, match="split='val' is unknown; use one of train, validation"):
        make("fake").split_size("val")


def test_fake_classes_can_be_told_apart_by_their_mean_spectrum(make: Any) -> None:
    data = make("fake", num_classes=4)
    spectra = {
        split: torch.fft.rfft2(whole(data, split).double()).abs().flatten(1)
        for split in ("train", "test")
    }
    labels = {split: getattr(data.splits, split).labels for split in spectra}
    means = torch.stack([spectra["train"][labels["train"] == c].mean(0) for c in range(4)])
    nearest = torch.cdist(spectra["test"], means).argmin(1)
    assert (nearest == labels["test"]).double().mean() > 0.95


def test_fake_without_classes_has_labels_minus_one(make: Any) -> None:
    batch = next(iter(make("fake", num_classes=0).train_dataloader()))
    assert (batch.labels == -1).all()


def test_resident_batches_are_made_on_the_device_from_one_copy(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = torch.device("meta")
    monkeypatch.setattr("datamodules.base.ImageDataModule._accelerator", lambda self: device)
    data = make("fake", resident="gpu", horizontal_flip=False)
    loaders = data.train_dataloader(), data.val_dataloader()
    assert loaders[0].store.images is loaders[1].store.images
    for loader in loaders:
        assert all(part.device == device for part in next(iter(loader)))
    assert next(data.uint8_batches("train", 4)).device.type == "cpu"


def test_resident_on_a_gpu_needs_one(make: Any) -> None:
    if torch.cuda.is_available():
        batch = next(iter(make("fake", resident="gpu").train_dataloader()))
        assert all(part.is_cuda for part in batch)
        return
    with pytest.raises(ValueError, match="resident='gpu' needs a GPU"):
        make("fake", resident="gpu").train_dataloader()
