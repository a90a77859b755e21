"""The forward process, the reverse one and the learnt drift, as a picture and as a film."""

from __future__ import annotations

from pathlib import Path

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from PIL import Image
from torch import Tensor

from callbacks.pictures import log_picture, save_picture
from callbacks.scatter import BLUE, GREY, arrows, captioned, panels, plane, save_film, scatter
from functional.process import Process, spread
from functional.seeding import image_seeds
from lightning_modules.base import ImageModule

ROWS = ("forward", "reverse", "drift")


class ProcessPictures(Callback):
    """Draws how points become noise and noise becomes points, after Sohl-Dickstein et al. (2015).

    In the test, ``samples/process_<images seen>.png`` has ``columns`` times from the data on the
    left to noise on the right: the test split diffused, samples on their way, and where the reverse
    step moves each place. ``samples/process_<images seen>.gif`` runs through ``frames`` times, to
    noise and back, the drift beside it. Methods without the capability "process", and data that are
    not points, are left alone.

    Args:
        n: points drawn.
        columns, frames: times shown.
        arrows: of the drift, along each axis.
        seed: names the stream of points.
    """

    def __init__(self, n: int, columns: int, frames: int, arrows: int, seed: int) -> None:
        if min(n, columns, frames, arrows) < 2 or seed < 0:
            raise ValueError(
                f"{n=}, {columns=}, {frames=}, {arrows=}, {seed=}: expected at least 2, and a seed "
                "of 0 or more"
            )
        self.n, self.columns, self.frames, self.arrows = n, columns, frames, arrows
        self.seed = seed

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Rank 0 alone draws; the others meet it again at their next collective."""
        assert isinstance(pl_module, ImageModule)
        data = trainer.datamodule  # type: ignore[attr-defined]
        if data.content != "points" or "process" not in pl_module.capabilities:
            return
        if not trainer.is_global_zero:
            return
        field = plane(self.arrows).to(pl_module.device)
        images = data.points("test")[: self.n].to(pl_module.device)
        seeds = image_seeds(self.seed, range(len(images)))
        seen = pl_module.process(images, field, seeds=seeds, frames=self.frames)
        folder, number = Path(trainer.default_root_dir) / "samples", pl_module.images_seen
        picture = figure(seen, field, self.columns)
        save_picture(picture, folder / f"process_{number:09d}.png")
        log_picture(trainer, "pictures/process", picture, f"{number:,} points seen", number)
        save_film(film(seen, field), folder / f"process_{number:09d}.gif", milliseconds=80)


def figure(seen: Process, field: Tensor, columns: int) -> Image.Image:
    """Give ``columns`` of the times, data on the left: forward, reverse and drift below each other.

    No step begins at the data, so the first column has the drift of the step that ends there.
    """
    picked = spread(columns, len(seen.times))[::-1]
    rows = [
        [scatter((seen.forward[k], GREY)) for k in picked],
        [scatter((seen.reverse[k], BLUE)) for k in picked],
        [drift(seen, field, k) for k in picked],
    ]
    return panels(rows, ROWS, [time_name(seen, k) for k in picked])


def film(seen: Process, field: Tensor) -> list[Image.Image]:
    """Give the pictures of a film: the data to noise, then noise to samples."""
    last = len(seen.times) - 1
    there = [(seen.forward, k, GREY) for k in range(last, -1, -1)]
    back = [(seen.reverse, k, BLUE) for k in range(last + 1)]
    pictures = []
    for name, way in zip(ROWS, (there, back), strict=False):
        for states, k, colour in way:
            cells = [scatter((states[k], colour)), drift(seen, field, k)]
            pictures.append(panels([cells], [time_name(seen, k)], [name, "learnt drift"]))
    return pictures


def drift(seen: Process, field: Tensor, k: int) -> Image.Image:
    """Give the drift at the k-th time; where that is the data's, at the one before, and say so."""
    begins = min(k, len(seen.drift) - 1)
    picture = arrows(field, seen.drift[begins])
    return picture if begins == k else captioned(picture, time_name(seen, begins))


def time_name(seen: Process, k: int) -> str:
    """Give the k-th time as it is written above a picture."""
    return f"t = {float(seen.times[k]):.3g}"
