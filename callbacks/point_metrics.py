"""Generated points of the plane: how far from held-out ones, and what they look like."""

from __future__ import annotations

from pathlib import Path

import torch
from lightning import Trainer
from torch import Tensor

from callbacks.pictures import log_picture, save_picture
from callbacks.run_record import record_protocol
from callbacks.scatter import BLUE, GREY, scatter
from callbacks.tracker import Tracker, plain_protocol
from functional.energy_distance import energy_distance
from lightning_modules.base import ImageModule
from lightning_modules.generation import generate_floats
from metrics.gather import broadcast_result, gather_rows
from metrics.protocol import metric_key

SHOWN = 2000
"""Points in a picture, at most."""


class PointTracker(Tracker):
    """Scores generated points by how far they are from real ones.

    ``gen/energy/points@<n>`` is the energy distance, ``gen/off/points@<n>`` the mean distance of a
    generated point to the nearest real one, which tells more of points where none should be. After
    every k-th validation the real ones are the validation split and, with ``n_final`` points, in
    the test the test split; there also ``gen/energy-heldout/...`` and ``gen/off-heldout/...`` of as
    many training points, about which those of a perfect model lie.

    ``samples/points_<images seen>.png`` shows generated points above real ones in grey. Data that
    are not points are left alone, and so are methods that cannot sample.

    Args:
        n, n_final: points per validation and at the end.
        every_n_validations: k.
        seed: names the stream of points.
    """

    content = "points"

    def __init__(self, n: int, n_final: int, every_n_validations: int, seed: int) -> None:
        super().__init__(None, None, None, n, n_final, every_n_validations, seed, cache="")

    def begin(self, module: ImageModule) -> bool:
        return "sample" in module.capabilities

    def score(self, trainer: Trainer, module: ImageModule, n: int, final: bool) -> None:
        data, split = trainer.datamodule, "test" if final else "validation"  # type: ignore[attr-defined]
        real = data.points(split)
        made = drawn(module, n, self.seed, trainer.global_rank, trainer.world_size)
        scores = broadcast_result(lambda: distances(made, real, n))
        if final:
            scores |= distances(data.points("train")[:n], real, n, "-heldout")
        for key, value in scores.items():
            module.report(key, value)
        record = plain_protocol(
            data,
            "points",
            split,
            n,
            module.sampling_record(),
            weights="ema" if module.evaluation_weights else "raw",
            precision=str(trainer.precision),
            seed=self.seed,
        )
        record_protocol(trainer, record, scores)
        if trainer.is_global_zero:
            _show(trainer, module, made, real)


def distances(made: Tensor, real: Tensor, n: int, suffix: str = "") -> dict[str, float]:
    """Give the energy distance and the mean distance to the nearest real point, by metric key."""
    parts, places = torch.split(made.flatten(1), 1024), real.flatten(1)
    nearest = [torch.cdist(part, places).amin(dim=1) for part in parts]
    values = {"energy": energy_distance(made, real), "off": float(torch.cat(nearest).mean())}
    return {metric_key("gen", name + suffix, "points", n): v for name, v in values.items()}


def drawn(module: ImageModule, n: int, seed: int, rank: int = 0, world_size: int = 1) -> Tensor:
    """Give ``(n, C, H, W)`` float32 on rank 0, in order; its own share on another rank."""
    chunks = list(generate_floats(module, n, seed, rank, world_size))
    indices = gather_rows([chunk.indices for chunk in chunks], (), torch.int64)
    images = gather_rows([chunk.images for chunk in chunks], module.image_shape, torch.float32)
    return images[indices.argsort()]


def _show(trainer: Trainer, module: ImageModule, made: Tensor, real: Tensor) -> None:
    picture = scatter((real[:SHOWN], GREY), (made[:SHOWN], BLUE), side=400)
    seen, folder = module.images_seen, Path(trainer.default_root_dir) / "samples"
    save_picture(picture, folder / f"points_{seen:09d}.png")
    told = ", ".join(f"{key} {value:.3g}" for key, value in module.scores.items())
    log_picture(trainer, "pictures/points", picture, f"{seen:,} points seen; {told}", seen)
