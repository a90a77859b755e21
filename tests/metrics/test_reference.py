from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from metrics import reference
from metrics.reference import reference_statistics, write_atomically
from tests.metrics.stand_ins import Projection, draw


def unread() -> Iterator[Tensor]:
    raise AssertionError("the images were read although the cache holds their statistics")
    yield torch.empty(0)


def test_moments_equal_numpy_whatever_the_batches(projection: Projection) -> None:
    images = draw(600, 1)
    features = projection(images).features.double().numpy()
    for size in (100, 77, 600):
        statistics = reference_statistics(projection, images.split(size), "data", None)
        np.testing.assert_allclose(statistics.mean, features.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(statistics.cov, np.cov(features, rowvar=False), rtol=1e-9)
        assert statistics.n == 600


def test_the_subset_is_a_seeded_draw_without_replacement(projection: Projection) -> None:
    images = draw(600, 1)
    features = projection(images).features

    def subset(size: int, seed: int = 0) -> Tensor:
        return reference_statistics(
            projection, images.split(size), "data", None, subset_size=200, seed=seed
        ).subset

    rows = [int((features == row).all(dim=1).nonzero()[0]) for row in subset(100)]
    assert len(set(rows)) == 200
    assert abs(sum(rows) / 200 - 300) < 50
    assert rows != sorted(rows)
    torch.testing.assert_close(subset(77), subset(100))
    assert not torch.equal(subset(100, seed=1), subset(100))


def test_a_second_call_reads_no_image(projection: Projection, tmp_path: Path) -> None:
    first = reference_statistics(projection, draw(60, 1).split(20), "data", tmp_path / "cache")
    second = reference_statistics(projection, unread(), "data", tmp_path / "cache")
    assert torch.equal(first.mean, second.mean)
    assert torch.equal(first.cov, second.cov)
    assert torch.equal(first.subset, second.subset)
    assert first.sha256 == second.sha256
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".safetensors"]


def test_other_data_weights_or_settings_have_statistics_of_their_own(tmp_path: Path) -> None:
    images = draw(60, 1).split(20)
    made = [
        reference_statistics(Projection(), images, "data", tmp_path),
        reference_statistics(Projection(), images, "other data", tmp_path),
        reference_statistics(Projection(dim=5), images, "data", tmp_path),
    ]
    assert len({statistics.sha256 for statistics in made}) == 3
    reference_statistics(Projection(), images, "data", tmp_path, subset_size=10)
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "foreign"])
def test_a_damaged_cache_file_is_made_again(
    projection: Projection, tmp_path: Path, damage: str
) -> None:
    images = draw(60, 1).split(20)
    good = reference_statistics(projection, images, "data", tmp_path)
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[-5] ^= 0xFF
    if damage == "foreign":
        reference_statistics(projection, images, "elsewhere", tmp_path / "b")
        content = bytearray(next((tmp_path / "b").iterdir()).read_bytes())
    path.write_bytes(content[: {"truncated": 100, "empty": 0}.get(damage)])
    with pytest.warns(UserWarning, match="is damaged"):
        again = reference_statistics(projection, images, "data", tmp_path)
    assert torch.equal(again.cov, good.cov)
    assert torch.equal(reference_statistics(projection, unread(), "data", tmp_path).cov, good.cov)


def test_a_cache_that_cannot_be_written_only_warns(projection: Projection, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match="not cached"):
        statistics = reference_statistics(
            projection, draw(60, 1).split(20), "data", tmp_path / "file" / "cache"
        )
    assert statistics.n == 60


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "statistics"
    write_atomically(path, b"old")

    def full(*args: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(reference.os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_progress_counts_every_image(projection: Projection) -> None:
    counts: list[int] = []
    reference_statistics(projection, draw(50, 1).split(20), "data", None, progress=counts.append)
    assert counts == [20, 20, 10]


def test_features_that_are_not_finite_name_their_batch(projection: Projection) -> None:
    projection.network.weight.data[0, 0] = float("inf")
    images = draw(50, 1)
    images[:, 0, 0, 0] = 1
    with pytest.raises(ValueError, match="reference batch 0"):
        reference_statistics(projection, images.split(20), "data", None)
    with pytest.raises(ValueError, match="two images or more, got 0"):
        reference_statistics(Projection(), [], "data", None)
