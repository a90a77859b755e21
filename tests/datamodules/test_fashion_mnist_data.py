from __future__ import annotations

import gzip
import hashlib
import struct
import time
import urllib.error
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision

from datamodules import fashion_mnist
from datamodules.assets.make_fashion_mnist_mini import make as make_mini
from datamodules.fashion_mnist import DEBIAN_FOLDER, MINI, MINI_SHA256, SHA256, read_folder
from datamodules.idx import read_idx

needs_full_set = pytest.mark.skipif(
    not (DEBIAN_FOLDER / "train-images-idx3-ubyte.gz").is_file(),
    reason="the Debian package dataset-fashion-mnist is not installed",
)


def idx(array: np.ndarray) -> bytes:
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(
        f">{array.ndim}I", *array.shape
    )
    return header + array.tobytes()


@pytest.fixture
def tiny_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, bytes]:
    """Four small idx files in the place of the published ones, whose package is not installed."""
    random = np.random.RandomState(0)
    files = {}
    for split, size in (("train", 30), ("t10k", 20)):
        images = random.randint(0, 256, (size, 28, 28), dtype=np.uint8)
        files[f"{split}-images-idx3-ubyte"] = idx(images)
        files[f"{split}-labels-idx1-ubyte"] = idx(np.arange(size, dtype=np.uint8) % 10)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    monkeypatch.setattr(fashion_mnist, "SHA256", hashes)
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "debian")
    return files


def write(files: dict[str, bytes], folder: Path, *, zipped: bool = False) -> None:
    folder.mkdir(parents=True)
    for name, content in files.items():
        path = folder / (f"{name}.gz" if zipped else name)
        path.write_bytes(gzip.compress(content, mtime=0) if zipped else content)


def full(make: Any, data_dir: Path, **changes: Any) -> Any:
    settings = {"batch_size": 4, "validation_size": 5, "download": False}
    return make("fashion_mnist", data_dir=str(data_dir), **settings | changes)


def test_shipped_file_is_small_and_the_one_that_was_made() -> None:
    content = MINI.read_bytes()
    assert len(content) <= 8 * 2**20
    assert hashlib.sha256(content).hexdigest() == MINI_SHA256
    assert MINI_SHA256 in MINI.with_name("README.md").read_text()


def test_mini_has_equally_many_images_of_every_class(make: Any) -> None:
    splits = make("fashion_mnist_mini").splits
    assert torch.bincount(splits.reference.labels).tolist() == [1000] * 10
    assert torch.bincount(splits.test.labels).tolist() == [200] * 10


@needs_full_set
def test_mini_is_part_of_the_real_set_with_its_labels(make: Any) -> None:
    splits = make("fashion_mnist_mini").splits
    for mini, real in zip((splits.reference, splits.test), read_folder(DEBIAN_FOLDER), strict=True):
        pixels = zip(real.pixels.numpy(), real.labels.tolist(), strict=True)
        known = {(image.tobytes(), label) for image, label in pixels}
        drawn = zip(mini.images.numpy(), mini.labels.tolist(), strict=True)
        assert all((image.tobytes(), label) in known for image, label in drawn)


@needs_full_set
def test_making_the_mini_set_again_gives_the_same_bytes(tmp_path: Path) -> None:
    make_mini(DEBIAN_FOLDER, tmp_path / "mini.npz")
    with np.load(tmp_path / "mini.npz") as again, np.load(MINI) as shipped:
        assert again.files == shipped.files
        assert all(np.array_equal(again[key], shipped[key]) for key in shipped.files)
    assert (tmp_path / "mini.npz").read_bytes() == MINI.read_bytes()


@pytest.mark.parametrize("content", [b"", b"changed"])
def test_damaged_mini_file_is_refused(
    make: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "mini.npz"
    path.write_bytes(content)
    monkeypatch.setattr(fashion_mnist, "MINI", path)
    with pytest.raises(ValueError, match=f"SHA-256 is .* expected {MINI_SHA256}; restore"):
        make("fashion_mnist_mini").setup()


@needs_full_set
def test_real_set_is_found_in_the_debian_folder_and_verified(make: Any, tmp_path: Path) -> None:
    data = make("fashion_mnist", data_dir=str(tmp_path), download=True)
    data.prepare_data()
    assert [data.split_size(s) for s in ("train", "validation", "test")] == [55000, 5000, 10000]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("layout", [".", "FashionMNIST/raw"])
@pytest.mark.parametrize("zipped", [True, False])
def test_files_are_found_in_every_layout(
    make: Any, tmp_path: Path, tiny_files: dict[str, bytes], layout: str, zipped: bool
) -> None:
    write(tiny_files, tmp_path / "data" / layout, zipped=zipped)
    data = full(make, tmp_path / "data")
    assert (data.split_size("reference"), data.split_size("test")) == (30, 20)
    found = torch.cat(list(data.uint8_batches("test", 20))).numpy().tobytes()
    assert found == tiny_files["t10k-images-idx3-ubyte"][16:]


def test_given_folder_comes_before_the_debian_one(
    make: Any, tmp_path: Path, tiny_files: dict[str, bytes]
) -> None:
    write(tiny_files, tmp_path / "debian", zipped=True)
    assert full(make, tmp_path / "nothing").split_size("reference") == 30
    write({name: content[:-1] for name, content in tiny_files.items()}, tmp_path / "data")
    with pytest.raises(ValueError, match=str(tmp_path / "data")):
        full(make, tmp_path / "data").setup()


def test_where_no_file_is_one_error_lists_the_three_ways(
    make: Any, tmp_path: Path, tiny_files: dict[str, bytes]
) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        full(make, tmp_path / "none").setup()
    message = str(caught.value)
    assert str(tmp_path / "none" / "FashionMNIST" / "raw") in message
    for way in ("data.data_dir", "dataset-fashion-mnist", str(tmp_path / "debian")):
        assert way in message
    assert "data.download=true with a network at hand (it is false now)" in message
    assert "\n" not in message


def test_failed_download_ends_in_that_error_with_its_reason(
    make: Any, tmp_path: Path, tiny_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no route\nto host")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    data = full(make, tmp_path / "none", download=True)
    start = time.monotonic()
    data.prepare_data()
    assert time.monotonic() - start < 2
    with pytest.raises(FileNotFoundError, match=r"the download failed \(RuntimeError: Error down"):
        data.setup()


def test_download_is_not_tried_where_the_files_are(
    make: Any, tmp_path: Path, tiny_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tiny_files, tmp_path / "data")
    data = full(make, tmp_path / "data", download=True)
    monkeypatch.setattr(type(data), "dataset", None)
    data.prepare_data()
    assert data.split_size("test") == 20


def test_download_fills_the_folder_that_is_read_next(
    make: Any, tmp_path: Path, tiny_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(root: str, download: bool) -> None:
        assert download
        write(tiny_files, Path(root) / "FashionMNIST" / "raw", zipped=True)

    data = full(make, tmp_path / "data", download=True)
    monkeypatch.setattr(type(data), "dataset", staticmethod(fetch))
    data.prepare_data()
    assert data.split_size("reference") == 30


def test_changed_file_is_refused_with_both_checksums(
    make: Any, tmp_path: Path, tiny_files: dict[str, bytes]
) -> None:
    name = "train-labels-idx1-ubyte"
    expected = fashion_mnist.SHA256[name]
    write(tiny_files | {name: tiny_files[name][:-1] + b"\x00"}, tmp_path / "data")
    with pytest.raises(ValueError, match=f"{name}: SHA-256 of the content is .*{expected}"):
        full(make, tmp_path / "data").setup()


def test_published_checksums_cover_the_files_torchvision_downloads() -> None:
    fetched = {name.removesuffix(".gz") for name, _ in torchvision.datasets.FashionMNIST.resources}
    assert fetched == set(SHA256)


def test_idx_agrees_with_torchvisions_reader(tmp_path: Path) -> None:
    array = np.random.RandomState(1).randint(0, 256, (3, 4, 5), dtype=np.uint8)
    path = tmp_path / "x-idx3-ubyte"
    path.write_bytes(idx(array))
    expected = torchvision.datasets.mnist.read_sn3_pascalvincent_tensor(str(path))
    assert torch.equal(read_idx(path), expected)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x", b"", "not an idx file"),
        ("x", b"PK\x03\x04 and more", "not an idx file"),
        ("x", idx(np.zeros((2, 3), np.uint8))[:-1], r"holds 5 bytes, but its header says \[2, 3\]"),
        ("x", idx(np.zeros((2, 3), np.uint8))[:10], "not an idx file"),
        ("x.gz", gzip.compress(bytes(9999), mtime=0)[:20], "not a whole gzip file"),
        ("x.gz", b"plain", "not a whole gzip file"),
    ],
)
def test_damaged_idx_file_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)
