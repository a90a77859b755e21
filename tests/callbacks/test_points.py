"""What is measured and drawn of points, and what is left alone because they are no images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from callbacks.generation_metrics import GenerationTracker
from callbacks.image_logger import ImageLogger
from callbacks.neighbours import NearestNeighbours
from callbacks.point_metrics import PointTracker
from callbacks.process_pictures import ProcessPictures
from datamodules.base import Batch
from datamodules.points import SwissRoll
from functional.noise_schedule import VariancePreserving
from functional.sampling import Sampling
from functional.seeding import ImageNoise
from lightning_modules.base import ImageModule
from lightning_modules.ddpm import DDPM
from networks.mlp import MLP
from tests.lightning_modules.tiny import data as images
from tests.lightning_modules.tiny import ddpm, trainer


def roll() -> SwissRoll:
    return SwissRoll(
        batch_size=8, channels=2, image_size=1, num_classes=0, seed=0, size=200,
        validation_size=100, test_size=150, noise=0.02,
    )  # fmt: skip


class Thrower(ImageModule):
    """Gives points of the roll, or Gaussian ones; learns nothing."""

    capabilities = frozenset({"sample"})
    image_shape = (2, 1, 1)
    chunk_size = 16

    def __init__(self, honest: bool) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.honest = honest

    def sample(self, n: int, *, seeds: Sequence[int], labels: Tensor | None = None) -> Tensor:
        if not self.honest:
            return ImageNoise(seeds)(2, 1, 1)
        return roll().points("train")[[seed % 200 for seed in seeds]]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self.weight**2

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def tracked(folder: Path, honest: bool) -> tuple[dict[str, float], Any]:
    module, callback = (
        Thrower(honest),
        PointTracker(n=60, n_final=120, every_n_validations=1, seed=0),
    )
    (folder / "run.json").write_text("{}")
    run = trainer(folder, [callback])
    run.fit(module, datamodule=roll())
    on_the_way = dict(module.scores)
    run.test(module, datamodule=roll(), verbose=False)
    return {**on_the_way, **module.scores}, json.loads((folder / "run.json").read_text())


def test_points_of_the_data_are_near_and_others_far_under_a_protocol(tmp_path: Path) -> None:
    for name in ("honest", "not"):
        (tmp_path / name).mkdir()
    near, record = tracked(tmp_path / "honest", honest=True)
    far, _ = tracked(tmp_path / "not", honest=False)
    keys = ("gen/energy/points@60", "gen/energy/points@120")
    assert all(abs(near[key]) < 0.05 < 0.1 < far[key] for key in keys)
    assert near["gen/off/points@120"] < 0.1 < far["gen/off/points@120"]
    assert abs(near["gen/energy-heldout/points@120"]) < 0.02
    stages = record["protocol_of"]
    protocols = [record["protocols"][stages[stage][key]] for stage, key in
                 zip(("validation", "test"), keys, strict=True)]  # fmt: skip
    assert [p["reference_split"] for p in protocols] == ["validation", "test"]
    assert [p["reference_n"] for p in protocols] == [100, 150]
    assert all(p["extractor"] == "points" and p["sampler"] == "one pass" for p in protocols)
    with Image.open(sorted((tmp_path / "honest" / "samples").glob("points_*.png"))[-1]) as shown:
        assert shown.size == (400, 400)


def diffusion(steps: int = 6) -> DDPM:
    network = MLP(2, 2, 1, width=16, blocks=1)
    return ddpm(
        network=network, schedule=VariancePreserving(steps, "cosine"), prediction="v",
        sampling=Sampling("ancestral", steps, "trailing", clip=True, variance="fixed_small"),
        optimizer=partial(torch.optim.AdamW, lr=1e-3), channels=2, image_size=1,
    )  # fmt: skip


def test_image_callbacks_leave_points_alone_and_both_processes_are_drawn(tmp_path: Path) -> None:
    generation = GenerationTracker(
        "no_such_network", None, None, ["fid"], 8, 8, 1, 0, cache=str(tmp_path)
    )
    neighbours = NearestNeighbours("pixels", 8, 2, 2, 1, 0)
    pictures = ProcessPictures(n=50, columns=3, frames=6, arrows=4, seed=0)
    run = trainer(tmp_path, [generation, neighbours, ImageLogger(1), pictures])
    module = diffusion()
    run.fit(module, datamodule=roll())
    run.test(module, datamodule=roll(), verbose=False)
    assert not module.scores and not generation.active
    made = {path.name for path in (tmp_path / "samples").iterdir()}
    assert made == {"process_000000048.png", "process_000000048.gif"}
    with Image.open(tmp_path / "samples" / "process_000000048.gif") as film:
        assert film.n_frames in range(8, 13)


def test_callbacks_of_points_leave_images_alone(tmp_path: Path) -> None:
    callbacks = [PointTracker(8, 8, 1, 0), ProcessPictures(8, 2, 2, 2, 0)]
    run, module = trainer(tmp_path, callbacks), ddpm()  # type: ignore[arg-type]
    run.fit(module, datamodule=images())
    run.test(module, datamodule=images(), verbose=False)
    assert not module.scores and not (tmp_path / "samples").exists()


def test_the_last_reverse_state_is_the_sample_and_the_first_its_noise() -> None:
    module = diffusion()
    real, seeds = roll().points("test")[:5], list(range(5))
    seen = module.process(real, real, seeds=seeds, frames=4)
    assert torch.equal(seen.reverse[-1], module.sample(5, seeds=seeds))
    assert torch.equal(seen.reverse[0], ImageNoise(seeds)(2, 1, 1))
    torch.testing.assert_close(seen.forward[-1], real)
    with pytest.raises(NotImplementedError, match="Thrower has no process"):
        Thrower(True).process(real, real, seeds=seeds, frames=4)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: PointTracker(1, 8, 1, 0), "n=1"),
        (lambda: ProcessPictures(8, 1, 2, 2, 0), "columns=1"),
        (lambda: ProcessPictures(8, 2, 2, 2, -1), "seed=-1"),
    ],
)
def test_settings_that_draw_nothing_are_refused(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()
