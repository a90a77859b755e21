from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from callbacks import neighbours
from callbacks.ema import EMA
from callbacks.neighbours import NearestNeighbours, held_out_images, nearest_training_images, rows
from callbacks.pictures import grid
from callbacks.run_record import RunRecord, read_rows
from functional.images import to_float, to_uint8
from functional.seeding import image_seeds
from tests.callbacks.test_generation_metrics import tracker
from tests.callbacks.toy import Toy
from tests.lightning_modules.tiny import data, trainer

pytestmark = pytest.mark.filterwarnings("ignore:FID of .* images")
SAMPLES, HELD_OUT = "gen/nn_distance/{}@16", "gen/nn_distance-heldout/{}@16"


def callback(**changes: Any) -> NearestNeighbours:
    settings: dict[str, Any] = {
        "space": "pixels", "n": 16, "rows": 3, "k": 5, "every_n_validations": None, "seed": 3,
    }  # fmt: skip
    return NearestNeighbours(**{**settings, **changes})


def scores_of(folder: Path, module: Toy, *callbacks: Any, **changes: Any) -> dict[str, float]:
    """The scores of a test without training."""
    run = trainer(folder, list(callbacks), steps=3)
    run.test(module, data(**changes), verbose=False)
    return module.scores


class Copier(Toy):
    """A "generator" that gives training images back: image i is one that its seed chooses."""

    mirrored = False

    def sample(self, n: int, *, seeds: Sequence[int], labels: Tensor | None = None) -> Tensor:
        source = self.trainer.datamodule  # type: ignore[attr-defined]
        chosen = torch.tensor([seed % source.split_size("train") for seed in seeds])
        images = to_float(source.splits.train.pixels(chosen))
        return images.flip(-1) if self.mirrored else images


def brute_force(queries: Tensor, images: Tensor) -> Tensor:
    """Distances ``(n, m)`` in [0, 255], one pair at a time."""
    pairs = [[(q.double() - x.double()).square().sum().sqrt() for x in images] for q in queries]
    return torch.tensor(pairs, dtype=torch.float64)


def embed(images: Tensor) -> Tensor:
    return images.flatten(1).double()


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_search_is_exact(monkeypatch: pytest.MonkeyPatch, channels: int, flip: bool) -> None:
    monkeypatch.setattr(neighbours, "CHUNK_VALUES", 64 * channels * 7)  # chunks of 7 images
    source = data(channels=channels, horizontal_flip=flip)
    images = torch.cat(list(source.uint8_batches("train", 500)))
    assert images.shape == (40, channels, 8, 8)
    bank = torch.cat([images, images.flip(-1)]) if flip else images
    queries = torch.cat(list(source.uint8_batches("test", 500)))
    near = nearest_training_images(queries, source, 5, embed)
    distances = brute_force(queries, bank)
    close = partial(torch.testing.assert_close, rtol=1e-14, atol=0)
    close(near.distances, distances.sort(dim=1).values[:, :5])
    close(distances.gather(1, near.indices), near.distances)
    shown = rows(queries, near.indices, source)
    assert torch.equal(shown[:, 0], queries)
    assert torch.equal(shown[:, 1:], bank[near.indices])


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_generator_that_copies_training_images_is_found_out(
    tmp_path: Path, channels: int, mirrored: bool
) -> None:
    module = Copier()
    module.image_shape, module.mirrored = (channels, 8, 8), mirrored
    module.test_step = lambda *_: None  # type: ignore[method-assign]
    scores = scores_of(tmp_path, module, callback(), channels=channels, horizontal_flip=mirrored)
    assert scores[SAMPLES.format("pixels")] == 0
    assert scores[HELD_OUT.format("pixels")] > 0.5


def test_a_copy_is_found_in_feature_space_too(tmp_path: Path) -> None:
    scored = tracker(tmp_path)
    scores = scores_of(tmp_path, Copier(), callback(space="features"), scored)
    assert scores[SAMPLES.format("features")] == pytest.approx(0, abs=1e-5)
    assert scores[HELD_OUT.format("features")] > 1e-3


def test_distances_and_picture_are_those_of_the_averaged_weights(tmp_path: Path) -> None:
    module, ema, source = Toy(), EMA(0.9), data()
    run = trainer(tmp_path, [callback(), ema], steps=3)
    run.fit(module, source)
    run.test(module, source, verbose=False)
    module.eval()
    with torch.no_grad(), ema.average_parameters(module):
        samples = to_uint8(module.sample(16, seeds=image_seeds(3, range(16))))
    images, held_out = (
        torch.cat(list(source.uint8_batches(split, 9))) for split in ("train", "validation")
    )
    nearest = brute_force(samples, images).sort(dim=1)
    expected = nearest.values[:, 0].median() / 2 + nearest.values[:, 0].sort().values[8] / 2
    assert module.scores[SAMPLES.format("pixels")] == pytest.approx(float(expected) / 127.5)
    of_held_out = brute_force(held_out, images).min(dim=1).values.numpy()
    assert module.scores[HELD_OUT.format("pixels")] == pytest.approx(np.median(of_held_out) / 127.5)
    wanted = torch.cat([samples[:3, None], images[nearest.indices[:3, :5]]], dim=1)
    with Image.open(tmp_path / "samples" / "neighbours_000000024.png") as found:
        assert np.array_equal(np.asarray(found), np.asarray(grid(to_float(wanted))))


def test_without_a_validation_split_test_images_are_the_held_out_ones(tmp_path: Path) -> None:
    source = data(validation_size=0, test_size=40)
    found = held_out_images(source, 10)
    assert torch.equal(found, torch.cat(list(source.uint8_batches("test", 40)))[::4])
    scores = scores_of(tmp_path, Toy(), callback(), validation_size=0)
    assert HELD_OUT.format("pixels") in scores


def test_without_held_out_images_there_is_no_number_of_them() -> None:
    sizes = {"validation": 0, "test": 0}
    source = SimpleNamespace(split_size=sizes.get, channels=3, image_size=8)
    assert held_out_images(source, 10).shape == (0, 3, 8, 8)


def test_fewer_training_images_than_neighbours_are_all_shown(tmp_path: Path) -> None:
    scores = scores_of(tmp_path, Toy(), callback(n=2), size=12, validation_size=9, batch_size=2)
    assert "gen/nn_distance/pixels@2" in scores
    with Image.open(tmp_path / "samples" / "neighbours_000000000.png") as found:
        assert found.size == (4 * 58 + 2, 3 * 58 + 2)  # three rows of a sample and three images


def test_it_comes_with_the_test_alone_or_with_every_kth_validation(tmp_path: Path) -> None:
    for k, times in ((None, 0), (2, 2)):
        folder = tmp_path / f"{k}"
        parts = [callback(every_n_validations=k), RunRecord()]
        trainer(folder, parts, steps=12).fit(Toy(), data())
        logged = [
            row for row in read_rows(folder / "metrics.jsonl") if SAMPLES.format("pixels") in row
        ]
        assert len(logged) == times
        assert SAMPLES.format("pixels") not in parts[1].best
        assert (SAMPLES.format("pixels") in parts[1].last) == bool(times)


def test_methods_that_cannot_sample_are_left_alone(tmp_path: Path) -> None:
    class Silent(Toy):
        capabilities = frozenset()

    assert scores_of(tmp_path, Silent(), callback()) == {}
    assert not (tmp_path / "samples").exists()


def test_a_set_of_50_000_colour_images_is_never_held_whole() -> None:
    class Many:
        horizontal_flip = False

        def split_size(self, split: str) -> int:
            return 50_000

        def uint8_batches(self, split: str, batch_size: int) -> Iterator[Tensor]:
            for start in range(0, 50_000, batch_size):
                n = min(batch_size, 50_000 - start)
                largest.append(n)
                yield torch.full((n, 3, 32, 32), start // 500 % 256, dtype=torch.uint8)

    largest: list[int] = []
    near = nearest_training_images(
        torch.full((2, 3, 32, 32), 7, dtype=torch.uint8), Many(), 5, embed
    )
    assert max(largest) * 3 * 32 * 32 * 8 <= 2**25
    assert near.distances.tolist() == [[0.0] * 5] * 2
    assert ((near.indices >= 3500) & (near.indices < 4000)).all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"space": "pixel"}, "space='pixel' is unknown; use one of pixels, features"),
        ({"n": 0}, "n=0; expected at least 1"),
        ({"every_n_validations": 0}, "every_n_validations=0"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        callback(**changes)


def test_feature_space_without_a_feature_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="callbacks.neighbours.space=pixels"):
        scores_of(tmp_path, Toy(), callback(space="features"))
