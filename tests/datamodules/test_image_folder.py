from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from datamodules.image_folder import find_images, split_by_hash

NAMES = [f"{i:03d}.png" for i in range(100)]


def write(root: Path, names: Sequence[str], size: tuple[int, int] = (8, 8)) -> None:
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (i, 2 * i % 256, 7)).save(root / name)


def folder(make: Any, root: Path, **changes: Any) -> Any:
    settings = {"batch_size": 2, "image_size": 8, "num_workers": 0}
    return make("image_folder", folder=str(root), **settings | changes)


def shades(data: Any, split: str) -> list[int]:
    """The numbers that `write` painted."""
    pixels = [batch[:, 0, 0, 0] for batch in data.uint8_batches(split, 3)]
    return torch.cat(pixels).tolist() if pixels else []


@pytest.mark.parametrize("in_memory", [True, False, "auto"])
def test_flat_folder_is_split_without_overlap_or_loss(
    make: Any, tmp_path: Path, in_memory: bool | str
) -> None:
    write(tmp_path, NAMES)
    data = folder(make, tmp_path, in_memory=in_memory)
    parts = [shades(data, split) for split in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [90, 5, 5]
    assert sorted(chain(*parts)) == list(range(100))
    assert shades(data, "reference") == sorted(parts[0] + parts[1])
    batch = next(iter(data.train_dataloader()))
    assert batch.images.shape == (2, 3, 8, 8)
    assert batch.labels.tolist() == [-1, -1]


def test_files_and_memory_give_the_same_batches(make: Any, tmp_path: Path) -> None:
    write(tmp_path, NAMES[:30], size=(20, 13))
    one, other = (folder(make, tmp_path, in_memory=choice) for choice in (True, False))
    for held, streamed in zip(one.train_dataloader(), other.train_dataloader(), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(held, streamed, strict=True))


def test_split_depends_on_names_and_split_seed_alone(make: Any, tmp_path: Path) -> None:
    write(tmp_path / "here", NAMES)
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    first = folder(make, tmp_path / "here")
    assert shades(folder(make, tmp_path / "there", seed=5), "test") == shades(first, "test")
    assert shades(folder(make, tmp_path / "here", split_seed=1), "test") != shades(first, "test")


def test_a_removed_file_moves_few_others() -> None:
    before = [NAMES[i] for i in split_by_hash(NAMES, 0.1, 0.1, 0)[2]]
    fewer = [name for name in NAMES if name != before[0]]
    after = [fewer[i] for i in split_by_hash(fewer, 0.1, 0.1, 0)[2]]
    assert len(set(before) & set(after)) == 9


def test_sub_folders_are_classes_with_nested_folders_inside(make: Any, tmp_path: Path) -> None:
    names = [f"{kind}/{i % 3}/deep/{i}.png" for kind in ("cat", "dog") for i in range(10)]
    write(tmp_path, names)
    data = folder(make, tmp_path, num_classes=2)
    labels = data.splits.reference.labels.tolist() + data.splits.test.labels.tolist()
    painted = shades(data, "reference") + shades(data, "test")
    assert all(label == (shade >= 10) for label, shade in zip(labels, painted, strict=True))
    assert len(painted) == 20


def test_sub_folders_without_classes_are_just_walked(make: Any, tmp_path: Path) -> None:
    write(tmp_path, ["a.png", "b/c.png", "b/d/e.png"])
    data = folder(make, tmp_path)
    assert sum(data.split_size(split) for split in ("train", "validation", "test")) == 3


@pytest.mark.parametrize(
    ("names", "num_classes", "message"),
    [
        (["a/1.png", "b/1.png", "c/1.png"], 2, r"num_classes=2, .* 3 sub-folders .*\(a, b, c\)"),
        (["1.png", "2.png"], 2, r"num_classes=2, .* 0 sub-folders .*\(none\)"),
        (["a/1.png", "2.png", "b/1.png"], 2, r"2\.png lies beside the class folders \(a, b\)"),
    ],
)
def test_classes_that_do_not_match_name_what_was_found(
    make: Any, tmp_path: Path, names: list[str], num_classes: int, message: str
) -> None:
    write(tmp_path, names)
    with pytest.raises(ValueError, match=message):
        folder(make, tmp_path, num_classes=num_classes).setup()


def test_hidden_files_other_files_and_loops_of_links_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, ["b.PNG", "a/c.jpeg", ".hidden.png", ".cache/x.png"])
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert find_images(tmp_path) == ["a/c.jpeg", "b.PNG"]


@pytest.mark.parametrize("exists", [True, False])
def test_empty_or_missing_folder_is_named(make: Any, tmp_path: Path, exists: bool) -> None:
    root = tmp_path if exists else tmp_path / "none"
    with pytest.raises(FileNotFoundError, match=f"{root}.*set data.folder"):
        folder(make, root).setup()


@pytest.mark.parametrize("in_memory", [True, False])
def test_broken_file_stops_before_training(make: Any, tmp_path: Path, in_memory: bool) -> None:
    write(tmp_path, NAMES[:10])
    (tmp_path / "bad.png").write_bytes((tmp_path / "003.png").read_bytes()[:40])
    with pytest.raises(ValueError, match=r"1 of 11 .*bad\.png.*data\.on_broken=skip"):
        folder(make, tmp_path, in_memory=in_memory).setup("fit")


@pytest.mark.parametrize("in_memory", [True, False])
def test_broken_file_is_named_and_left_out(
    make: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, in_memory: bool
) -> None:
    write(tmp_path, NAMES[:20])
    (tmp_path / "004.png").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        data = folder(make, tmp_path, in_memory=in_memory, on_broken="skip")
        found = shades(data, "reference") + shades(data, "test")
    assert sorted(found) == [i for i in range(20) if i != 4]
    assert "004.png" in caplog.text


@pytest.mark.parametrize("in_memory", [True, False])
def test_labels_stay_with_their_images_when_a_broken_file_is_left_out(
    make: Any, tmp_path: Path, in_memory: bool
) -> None:
    write(tmp_path, [f"{'cat' if i < 10 else 'dog'}/{i:02d}.png" for i in range(20)])
    (tmp_path / "cat" / "03.png").write_bytes(b"")
    data = folder(make, tmp_path, in_memory=in_memory, on_broken="skip", num_classes=2)
    for split in ("reference", "test"):
        labels = getattr(data.splits, split).labels.tolist()
        assert labels == [int(shade >= 10) for shade in shades(data, split)]


def test_file_that_breaks_later_is_replaced_by_the_next(
    make: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, NAMES[:20])
    settings = {"in_memory": False, "validation_fraction": 0.0, "test_fraction": 0.0}
    skipping = folder(make, tmp_path, on_broken="skip", **settings)
    stopping = folder(make, tmp_path, on_broken="stop", **settings)
    assert shades(skipping, "train") == shades(stopping, "train") == list(range(20))
    (tmp_path / "019.png").write_bytes(b"")
    assert shades(skipping, "train") == [*range(19), 0]
    assert "019.png" in caplog.text
    with pytest.raises(ValueError, match=r"019\.png"):
        shades(stopping, "train")


def test_folder_of_broken_files_is_an_error_also_when_skipping(make: Any, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(ValueError, match="none of the 1 images"):
        folder(make, tmp_path, on_broken="skip").setup()


def test_small_folder_has_one_image_per_split(make: Any, tmp_path: Path) -> None:
    write(tmp_path, NAMES[:3])
    data = folder(make, tmp_path, batch_size=1)
    assert [data.split_size(s) for s in ("train", "validation", "test")] == [1, 1, 1]


def test_too_small_folder_says_how_many_images_it_needs(make: Any, tmp_path: Path) -> None:
    write(tmp_path, NAMES[:2])
    with pytest.raises(ValueError, match="2 images are too few .* use at least 3"):
        folder(make, tmp_path).setup()
    data = folder(make, tmp_path, batch_size=1, test_fraction=0.0)
    assert data.split_size("train") == data.split_size("validation") == 1
    assert list(data.test_dataloader()) == list(data.uint8_batches("test", 4)) == []


@pytest.mark.parametrize("fractions", [(-0.1, 0.1), (0.5, 0.5), (1.0, 0.0)])
def test_fractions_must_leave_something_to_train_on(fractions: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=f"validation_fraction={fractions[0]}"):
        split_by_hash(NAMES, *fractions, 0)


@pytest.mark.parametrize("change", [{"on_broken": "ignore"}, {"in_memory": "yes"}, {"channels": 2}])
def test_unknown_choices_are_refused_by_name(
    make: Any, tmp_path: Path, change: dict[str, Any]
) -> None:
    write(tmp_path, NAMES[:3])
    with pytest.raises(ValueError, match=next(iter(change))):
        folder(make, tmp_path, **change).setup()


def test_mixed_sizes_and_modes_come_in_one_shape(make: Any, tmp_path: Path) -> None:
    for i, (mode, size) in enumerate(
        [("L", (30, 9)), ("RGBA", (9, 30)), ("P", (8, 8)), ("CMYK", (16, 16)), ("I;16", (5, 5))]
    ):
        Image.new(mode, size).save(tmp_path / f"{i}.{'tif' if mode == 'CMYK' else 'png'}")
    for channels in (1, 3):
        data = folder(make, tmp_path, channels=channels, batch_size=1)
        for split in ("train", "validation", "test"):
            assert all(b.shape[1:] == (channels, 8, 8) for b in data.uint8_batches(split, 2))


@pytest.mark.parametrize("in_memory", [True, False])
def test_names_need_not_be_text(make: Any, tmp_path: Path, in_memory: bool) -> None:
    write(tmp_path, NAMES[:5])
    os.rename(tmp_path / NAMES[0], os.fsencode(tmp_path) + b"/\xff\xfe.png")
    data = folder(make, tmp_path, batch_size=1, in_memory=in_memory)
    assert sum(data.split_size(split) for split in ("train", "validation", "test")) == 5
    assert len(data.fingerprint("reference")) == 64
