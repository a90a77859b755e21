from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback
from PIL import Image

from callbacks import image_logger
from callbacks.ema import EMA
from callbacks.image_logger import ImageLogger
from callbacks.pictures import grid, save_picture
from tests.callbacks.toy import Toy
from tests.lightning_modules.tiny import data, trainer


def test_a_grid_is_about_square_and_shows_each_image_in_its_place() -> None:
    images = torch.linspace(-1, 1, 9).view(9, 1, 1, 1).expand(9, 1, 60, 60)
    pixels = np.asarray(grid(images).convert("L"))
    assert pixels.shape == (3 * 62 + 2, 3 * 62 + 2)
    shown = [int(pixels[2 + 62 * r + 30, 2 + 62 * c + 30]) for r in range(3) for c in range(3)]
    assert shown == [0, 32, 64, 96, 128, 159, 191, 223, 255]


def test_rows_of_images_stay_rows() -> None:
    rows = torch.zeros(2, 5, 3, 64, 64)
    assert grid(rows).size == (5 * 66 + 2, 2 * 66 + 2)


def test_small_images_are_enlarged_by_a_whole_factor_with_square_pixels() -> None:
    image = torch.tensor([[-1.0, 1.0], [1.0, -1.0]]).view(1, 1, 2, 2)
    pixels = np.asarray(grid(image).convert("L"))
    assert pixels.shape == (56, 56)
    assert (pixels[:28, :28] == 0).all() and (pixels[:28, 28:] == 255).all()


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 8), (1, 100)])
def test_a_saved_picture_is_a_png(tmp_path: Path, channels: int, size: int) -> None:
    picture = grid(torch.rand(5, channels, size, size) * 2 - 1)
    path = save_picture(picture, tmp_path / "samples" / "x.png")
    with Image.open(path) as found:
        assert found.format == "PNG" and found.size == picture.size
    assert [p.name for p in path.parent.iterdir()] == ["x.png"]


class Fid(Callback):
    def __init__(self) -> None:
        self.value = 10.0

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.value -= 1
        pl_module.report("gen/fid/x@2", self.value)


def logged(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, int]]:
    seen: list[tuple[str, str, int]] = []

    def keep(trainer: Any, key: str, picture: Any, caption: str, step: int) -> None:
        seen.append((key, caption, step))

    monkeypatch.setattr(image_logger, "log_picture", keep)
    return seen


@pytest.mark.parametrize("scores_first", [True, False])
def test_captions_have_the_scores_of_the_same_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scores_first: bool
) -> None:
    seen = logged(monkeypatch)
    callbacks = [Fid(), ImageLogger(1)] if scores_first else [ImageLogger(1), Fid()]
    trainer(tmp_path, callbacks, steps=6).fit(Toy(), data())
    assert [entry for entry in seen if entry[0] == "pictures/samples"] == [
        ("pictures/samples", "24 images seen; gen/fid/x@2 9", 24),
        ("pictures/samples", "48 images seen; gen/fid/x@2 8", 48),
    ]
    names = sorted(path.name for path in (tmp_path / "samples").iterdir())
    assert names == [
        f"{kind}_{images:09d}.png" for kind in ("clean", "samples") for images in (24, 48)
    ]


def test_pictures_come_after_every_kth_validation_and_after_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = logged(monkeypatch)
    trainer(tmp_path, [ImageLogger(3)], steps=12).fit(Toy(), data())
    assert sorted({step for _, _, step in seen}) == [72, 96]


def test_pictures_show_the_averaged_weights(tmp_path: Path) -> None:
    module, ema = Toy(), EMA(0.9)
    trainer(tmp_path, [ImageLogger(1), ema], steps=3).fit(module, data())
    module.eval()
    with torch.no_grad(), ema.average_parameters(module):
        wanted = grid(module.sample(4, seeds=range(4)))
    with torch.no_grad():
        raw = grid(module.sample(4, seeds=range(4)))
    with Image.open(tmp_path / "samples" / "samples_000000024.png") as found:
        pixels = np.asarray(found.convert("RGB"))
    assert np.array_equal(pixels, np.asarray(wanted.convert("RGB")))
    assert not np.array_equal(pixels, np.asarray(raw.convert("RGB")))


def test_without_a_validation_split_pictures_show_a_training_batch(tmp_path: Path) -> None:
    trainer(tmp_path, [ImageLogger(1)], steps=3).fit(Toy(), data(validation_size=0))
    source = data(validation_size=0)
    source.setup("fit")
    first = next(iter(source.train_dataloader())).images[:2]
    with Image.open(tmp_path / "samples" / "clean_000000024.png") as found:
        assert np.array_equal(np.asarray(found), np.asarray(grid(first)))


class Rank1(ImageLogger):
    """Sees the trainer as the second of two processes does."""

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        other = SimpleNamespace(
            sanity_checking=False, should_stop=False, is_global_zero=False, datamodule=data()
        )
        super().on_validation_end(other, pl_module)


class Shy(Toy):
    def previews(self, batch: Any) -> dict[str, torch.Tensor]:
        raise AssertionError("previews were made on a rank that does not show them")


def test_pictures_are_made_on_rank_0_alone(tmp_path: Path) -> None:
    logger = Rank1(1)
    trainer(tmp_path, [logger], steps=6).fit(Shy(), data())
    assert logger.validations == 2
    assert not (tmp_path / "samples").exists()
