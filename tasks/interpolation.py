"""Images on the way from one to the next: of samples, or of given images that a method encodes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.io import decode_image
from tqdm import tqdm

from callbacks.pictures import save_picture
from callbacks.run_record import write_json
from functional.images import to_float, to_uint8
from functional.seeding import image_seeds
from lightning_modules.base import ImageModule
from tasks.base import ImageTask
from tasks.outputs import OutputFolder
from tasks.running import SHEET_ROWS, digest
from tasks.sheet import sheet
from tasks.sources import Skipped, Source


@dataclass(frozen=True)
class Interpolate(ImageTask):
    """Goes from each image to the next, along great circles of Gaussian latents.

    Attributes:
        images: how many of a way, both ends included.
        label: the class of all of them, of a model that has classes; None for a way's own.
    """

    images: int
    label: int | None
    capability = "interpolate"
    needs_images = False

    def __post_init__(self) -> None:
        if not 2 <= self.images <= 100:
            raise ValueError(
                f"images={self.images} of a way; expected 2 to 100, both ends included"
            )

    @property
    def weights(self) -> list[float]:
        """The shares of the way at which the images lie."""
        return [k / (self.images - 1) for k in range(self.images)]

    def sampling_record(self, module: ImageModule) -> dict[str, Any]:
        return module.interpolating_record()

    def check_number(self, ends: int) -> None:
        """Refuse fewer than two ends with a ValueError."""
        if ends < 2:
            raise ValueError(
                f"{ends} image to interpolate; give input= a folder with two or more, or none and "
                "n=2 or more samples"
            )


@dataclass(frozen=True, eq=False)
class Way:
    """From one end to the next.

    Attributes:
        ends: two seeds, or two images of a user, uint8 ``(C, H, W)``.
        names: of the two ends.
        settings: what its images are of.
    """

    ends: tuple[int, int] | tuple[Tensor, Tensor]
    names: tuple[str, str]
    settings: Mapping[str, Any]

    def result(self, k: int) -> str:
        """Give what the k-th image is called."""
        return f"{self.names[0]}-{Path(self.names[1]).name}_{k:02d}"


def sample_ways(seed: int, n: int, settings: Mapping[str, Any]) -> list[Way]:
    """Give the ways between the first ``n`` images that ``task=generate`` makes of ``seed``."""
    seeds = image_seeds(seed, range(n))
    return [
        Way((seeds[i], seeds[i + 1]), (f"seed{seed}_{i}", f"{i + 1}"), {**settings, "seed": seed})
        for i in range(n - 1)
    ]


def image_ways(images: Mapping[Source, Tensor], settings: Mapping[str, Any]) -> list[Way]:
    """Give the ways from each image, uint8 ``(C, H, W)``, to the next, in their order."""
    return [
        Way(
            (images[a], images[b]), (a.name, b.name),
            {**settings, "image": digest([a.path, b.path])},
        )
        for a, b in pairwise(images)
    ]  # fmt: skip


def run_ways(
    module: ImageModule,
    task: Interpolate,
    ways: Sequence[Way],
    output: OutputFolder,
    skipped: Sequence[Skipped] = (),
) -> dict[str, Any]:
    """Make the ways that are missing; write the files, ``sheet.png``, ``result.json``.

    Raises:
        ValueError: where an image is there with other settings, or the method encodes none.
    """
    begun, count = time.perf_counter(), task.images
    # All files are looked at, so that one of other settings is found before any is made.
    states = {
        way: [output.missing(way.result(k), way.settings) for k in range(count)] for way in ways
    }
    missing = [way for way, state in states.items() if any(state)]
    for way in tqdm(missing, desc="ways", disable=None):
        for k, image in enumerate(make(module, task, way)):
            output.save(way.result(k), image, way.settings)
    picture = overview(task, ways[:SHEET_ROWS], output)
    save_picture(picture, output.folder / "sheet.png")
    files = [
        {"from": way.names[0], "to": way.names[1], "made": way in missing,
         "outputs": [f"{way.result(k)}.png" for k in range(count)]}
        for way in ways
    ]  # fmt: skip
    found = {
        "settings": dict(ways[0].settings),
        "images": len(ways) + 1,
        "made": len(missing) * count, "kept": (len(ways) - len(missing)) * count,
        "seconds": round(time.perf_counter() - begun, 2),
        "files": files,
        "skipped": [{"input": str(entry.path), "reason": entry.reason} for entry in skipped],
    }  # fmt: skip
    write_json(output.folder / "result.json", found)
    return found


def make(module: ImageModule, task: Interpolate, way: Way) -> Tensor:
    """Give the images of a way, uint8 ``(P, C, H, W)``."""
    ends: Any = way.ends
    if isinstance(ends[0], Tensor):
        ends = to_float(torch.stack(ends)).to(module.device)
    with torch.no_grad():
        return to_uint8(module.interpolate(ends, task.weights, task.label)[0]).cpu()


def overview(task: Interpolate, ways: Sequence[Way], output: OutputFolder) -> Any:
    """Give the sheet: a row for each way, between its given ends where it has such."""
    columns = {
        f"{weight:.2f}": [decode_image(str(output.path(way.result(k)))) for way in ways]
        for k, weight in enumerate(task.weights)
    }
    for caption, end, first in (("from", 0, True), ("to", 1, False)):
        given = [way.ends[end] for way in ways]
        images = [e for e in given if isinstance(e, Tensor)]
        if images:
            columns = {caption: images, **columns} if first else {**columns, caption: images}
    return sheet(columns)
