"""The learnt score beside the true one, as two fields of arrows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from PIL import Image
from torch import Tensor

from callbacks.pictures import log_picture, save_picture
from callbacks.scatter import BLUE, GREY, RED, arrows, panels, plane, scatter
from functional.kernel_score import kernel_score
from functional.seeding import ImageNoise, image_seeds
from lightning_modules.base import ImageModule

ROWS = ("noisy data", "learnt score", "true score")


class ScorePictures(Callback):
    """Draws what a model takes for the gradient of the log-density of noisy points, and what it is.

    In the test, ``samples/score_<images seen>.png`` has a column for each level of noise: the test
    split with that noise, arrows of the model, arrows of the training split's own density under
    that noise (Alain & Bengio 2014, figure 4). ``score/error-<level>`` is the squared difference on
    noisy test points over the mean square of the true score: 0 is exact, 1 no better than none.
    Methods without the capability "score", and data that are not points, are left alone.

    Args:
        levels: standard deviations of noise for data in [0, 1], half of those in the plane.
        n: noisy points that are drawn and that the error is taken on.
        arrows: along each axis.
        seed: names the stream of noise.
    """

    def __init__(self, levels: Sequence[float], n: int, arrows: int, seed: int) -> None:
        if not levels or min(levels) <= 0 or min(n, arrows) < 2 or seed < 0:
            raise ValueError(
                f"levels={list(levels)}, {n=}, {arrows=}, {seed=}: expected levels above 0, at "
                "least 2 of the others, and a seed of 0 or more"
            )
        self.levels, self.n, self.arrows, self.seed = list(levels), n, arrows, seed

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Rank 0 alone draws; the errors, the same everywhere, are reported by all."""
        assert isinstance(pl_module, ImageModule)
        data = trainer.datamodule  # type: ignore[attr-defined]
        if data.content != "points" or "score" not in pl_module.capabilities:
            return
        known, points = data.points("train"), data.points("test")[: self.n]
        columns = [self._column(pl_module, points, known, level) for level in self.levels]
        if trainer.is_global_zero:
            rows = [list(row) for row in zip(*columns, strict=True)]
            picture = panels(rows, ROWS, [f"sigma {level:g}" for level in self.levels])
            number = pl_module.images_seen
            folder = Path(trainer.default_root_dir) / "samples"
            save_picture(picture, folder / f"score_{number:09d}.png")
            log_picture(trainer, "pictures/score", picture, f"{number:,} points seen", number)

    def _column(
        self, module: ImageModule, points: Tensor, known: Tensor, level: float
    ) -> list[Image.Image]:
        """Report the error at a level; give its pictures."""
        std = 2 * level
        noise = ImageNoise(image_seeds(self.seed, range(len(points))))(*points.shape[1:])
        noisy, places = points + std * noise, plane(self.arrows)
        learnt, true = scores_at(module, noisy, known, level)
        error = (learnt - true).square().sum() / true.square().sum()
        module.report(f"score/error-{level:g}", float(error))
        learnt, true = scores_at(module, places, known, level)
        longest = float(torch.cat([learnt, true]).norm(dim=1).max())
        return [
            scatter((noisy, GREY)),
            arrows(places, learnt, colour=RED, longest=longest),
            arrows(places, true, colour=BLUE, longest=longest),
        ]


def scores_at(
    module: ImageModule, places: Tensor, known: Tensor, level: float
) -> tuple[Tensor, Tensor]:
    """Give the module's score and the true one of noisy ``known``, ``(N, 2, 1, 1)``, on CPU."""
    given = torch.full((len(places),), level, device=module.device)
    learnt = module.score(places.to(module.device), given).cpu()
    return learnt, kernel_score(places, known, 2 * level)
