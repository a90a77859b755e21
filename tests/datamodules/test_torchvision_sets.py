"""MNIST, CIFAR-10 and CelebA, from tiny archives in the formats in which they are published."""

from __future__ import annotations

import hashlib
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

random = np.random.RandomState(0)


def write_mnist(root: Path) -> dict[str, np.ndarray]:
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    images = {}
    for split, size in (("train", 30), ("t10k", 20)):
        images[split] = random.randint(0, 256, (size, 28, 28), dtype=np.uint8)
        header = struct.pack(">HBB3I", 0, 8, 3, size, 28, 28)
        (folder / f"{split}-images-idx3-ubyte").write_bytes(header + images[split].tobytes())
        labels = (np.arange(size) % 10).astype(np.uint8).tobytes()
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(
            struct.pack(">HBBI", 0, 8, 1, size) + labels
        )
    return images


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def write_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    rows = {}
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        rows[name] = random.randint(0, 256, (10, 3072), dtype=np.uint8)
        batch = {
            "data": rows[name],
            "labels": list(range(10)),
            "filenames": [],
            "batch_label": name,
        }
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    meta = {"label_names": [f"class {i}" for i in range(10)], "num_cases_per_batch": 10}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol=2))
    kind = torchvision.datasets.CIFAR10
    hashes = [[name, md5(folder / name)] for name in rows]
    monkeypatch.setattr(kind, "train_list", hashes[:5])
    monkeypatch.setattr(kind, "test_list", hashes[5:])
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": md5(folder / "batches.meta")})
    return rows


def write_celeba(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    lines = []
    for i in range(1, 25):
        name = f"{i:06d}.jpg"
        shade = 10 * i
        image = Image.new("RGB", (178, 218), (255, 0, 0))
        image.paste((shade, shade, shade), (19, 39, 159, 179))
        image.save(folder / "img_align_celeba" / name, quality=95)
        lines.append(f"{name} {0 if i <= 16 else 1 if i <= 20 else 2}\n")
    partition = folder / "list_eval_partition.txt"
    partition.write_text("".join(lines))
    listed = [("", md5(partition), partition.name)]
    monkeypatch.setattr(torchvision.datasets.CelebA, "file_list", listed)


def small(make: Any, name: str, root: Path, **changes: Any) -> Any:
    settings = {"data_dir": str(root), "download": False, "batch_size": 4, "validation_size": 3}
    return make(name, **settings | changes)


def test_mnist_is_read_as_published(make: Any, tmp_path: Path) -> None:
    images = write_mnist(tmp_path)
    data = small(make, "mnist", tmp_path)
    assert [data.split_size(s) for s in ("train", "validation", "test")] == [27, 3, 20]
    reference = torch.cat(list(data.uint8_batches("reference", 7)))
    assert np.array_equal(reference.numpy()[:, 0], images["train"])
    assert data.splits.test.labels.tolist() == [i % 10 for i in range(20)]


def test_cifar10_is_read_as_published(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = write_cifar10(tmp_path, monkeypatch)
    data = small(make, "cifar10", tmp_path)
    assert [data.split_size(s) for s in ("train", "validation", "test")] == [47, 3, 10]
    reference = torch.cat(list(data.uint8_batches("reference", 7))).numpy()
    # A row holds 1024 red bytes, then green, then blue, each line by line.
    assert np.array_equal(reference[23], rows["data_batch_3"][3].reshape(3, 32, 32))
    assert data.splits.reference.labels.tolist() == list(range(10)) * 5


def test_cifar10_with_another_checksum_is_refused(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar10(tmp_path, monkeypatch)
    (tmp_path / "cifar-10-batches-py" / "data_batch_2").write_bytes(b"a pickle from elsewhere")
    with pytest.raises(ValueError, match="does not hold the whole of cifar10"):
        small(make, "cifar10", tmp_path).setup()


def test_truncated_mnist_is_refused(make: Any, tmp_path: Path) -> None:
    write_mnist(tmp_path)
    path = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="does not hold the whole of mnist"):
        small(make, "mnist", tmp_path).setup()


@pytest.mark.parametrize(
    ("name", "folder"), [("mnist", "MNIST/raw"), ("cifar10", "cifar-10-batches-py")]
)
def test_missing_set_names_the_folder_and_the_option(
    make: Any, tmp_path: Path, name: str, folder: str
) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        small(make, name, tmp_path).setup()
    message = str(caught.value)
    assert f"{name} was not found: there is no folder {tmp_path / folder}" in message
    assert "data.download=true" in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["mnist", "cifar10", "celeba"])
def test_failed_download_is_told_by_setup(
    make: Any, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    kind = {"mnist": "MNIST", "cifar10": "CIFAR10", "celeba": "CelebA"}[name]
    monkeypatch.setattr(f"torchvision.datasets.{kind}.download", unreachable)
    data = small(make, name, tmp_path, download=True)
    data.prepare_data()
    with pytest.raises(FileNotFoundError, match=r"the download failed \(OSError: no network\)"):
        data.setup()


def test_celeba_has_its_official_splits_cropped_to_the_face(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_celeba(tmp_path, monkeypatch)
    data = small(make, "celeba", tmp_path, num_workers=0, image_size=16)
    sizes = {
        split: data.split_size(split) for split in ("train", "validation", "test", "reference")
    }
    assert sizes == {"train": 16, "validation": 3, "test": 4, "reference": 16}
    faces = torch.cat(list(data.uint8_batches("test", 3)))
    assert faces.shape == (4, 3, 16, 16)
    # The red frame lies outside the central 140 pixels; JPEG blurs its edge.
    shades = faces[:, :, 2:-2, 2:-2].double().mean((1, 2, 3))
    assert torch.allclose(shades, 10 * torch.arange(21.0, 25.0).double(), atol=3)
    batch = next(iter(data.train_dataloader()))
    assert batch.images.shape == (4, 3, 16, 16)
    assert (batch.labels == -1).all()


def test_celeba_may_use_its_whole_validation_split(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_celeba(tmp_path, monkeypatch)
    assert small(make, "celeba", tmp_path, validation_size=4).split_size("validation") == 4


def test_celeba_fingerprint_sees_content_and_crop(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_celeba(tmp_path, monkeypatch)
    before = small(make, "celeba", tmp_path).fingerprint("train")
    assert small(make, "celeba", tmp_path).fingerprint("train") == before
    assert small(make, "celeba", tmp_path, crop=178).fingerprint("train") != before
    image = tmp_path / "celeba" / "img_align_celeba" / "000003.jpg"
    Image.new("RGB", (178, 218)).save(image)
    assert small(make, "celeba", tmp_path).fingerprint("train") != before


def test_celeba_with_missing_images_names_one(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_celeba(tmp_path, monkeypatch)
    (tmp_path / "celeba" / "img_align_celeba" / "000003.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 24 images are missing .* 000003\.jpg"):
        small(make, "celeba", tmp_path).setup()


def test_celeba_with_another_list_of_splits_is_refused(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_celeba(tmp_path, monkeypatch)
    (tmp_path / "celeba" / "list_eval_partition.txt").write_text("000001.jpg 0\n")
    with pytest.raises(ValueError, match="is not the published list"):
        small(make, "celeba", tmp_path).setup()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_classes": 40}, "num_classes=40, but celeba has 0"),
        ({"channels": 2}, "channels=2, but the images of celeba have 3"),
        ({"crop": 179}, "crop=179 must lie between 1 and 178"),
    ],
)
def test_celeba_settings_that_do_not_match(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any, message: str
) -> None:
    write_celeba(tmp_path, monkeypatch)
    with pytest.raises(ValueError, match=message):
        small(make, "celeba", tmp_path, **change).setup()
