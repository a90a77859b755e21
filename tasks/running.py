"""A task on many images: in batches, what is there already left out, broken files named."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.io import decode_image
from tqdm import tqdm

from callbacks.pictures import save_picture
from callbacks.run_record import write_json
from datamodules.decode import BrokenImageError
from functional.images import to_float, to_uint8
from lightning_modules.base import ImageModule
from tasks.base import ImageShape, ImageTask
from tasks.outputs import OutputFolder
from tasks.sheet import sheet
from tasks.sources import Skipped, Source, read

BATCH = 32
SHEET_ROWS, SHEET_SEEDS = 16, 8


@dataclass
class Work:
    """A task to be done with a model on a user's images.

    Attributes:
        module, task: what does what; the module is on its device, in evaluation mode.
        sources, seeds: every image with every seed.
        output: where results are written.
        settings: what the results are of, beside image and seed.
        skipped: files that were left out; those that cannot be decoded after all are added.
        made: results written by this call.
    """

    module: ImageModule
    task: ImageTask
    sources: list[Source]
    seeds: list[int]
    output: OutputFolder
    settings: Mapping[str, Any]
    skipped: list[Skipped] = field(default_factory=list)
    made: set[tuple[Source, int]] = field(default_factory=set)
    _digests: dict[Source, str] = field(default_factory=dict)

    @property
    def shape(self) -> ImageShape:
        """(C, H, W) of the model's images."""
        return self.module.image_shape

    def settings_of(self, source: Source, seed: int) -> dict[str, Any]:
        """Give what the result of an image and a seed is of."""
        if source not in self._digests:
            self._digests[source] = digest(self.task.files(source))
        return {**self.settings, "seed": seed, "image": self._digests[source]}

    def missing(self) -> dict[Source, list[int]]:
        """Give the seeds that are still to be made, by image; none is made before all are known.

        Raises:
            ValueError: where a result is there with other settings.
        """
        found = {
            source: [
                seed
                for seed in self.seeds
                if self.output.missing(source.result(seed), self.settings_of(source, seed))
            ]
            for source in self.sources
        }
        return {source: seeds for source, seeds in found.items() if seeds}


def run(work: Work) -> dict[str, Any]:
    """Make what is missing; write the files, ``sheet.png`` and ``result.json``; give the record."""
    missing, begun = work.missing(), time.perf_counter()
    with tqdm(total=sum(map(len, missing.values())), desc="images", disable=None) as bar:
        for sources, images in batches(work, list(missing)):
            for seed in work.seeds:
                rows = [i for i, source in enumerate(sources) if seed in missing[source]]
                if rows:
                    make(work, [sources[i] for i in rows], images[rows], seed)
                    bar.update(len(rows))
    broken = {entry.path for entry in work.skipped}
    done = [source for source in work.sources if source.path not in broken]
    if done:
        save_picture(overview(work, done), work.output.folder / "sheet.png")
    found = record(work, done, time.perf_counter() - begun)
    write_json(work.output.folder / "result.json", found)
    return found


def batches(work: Work, sources: Sequence[Source]) -> Iterator[tuple[list[Source], Tensor]]:
    """Yield images in float32 ``(n, C, H, W)`` with where they are from; broken ones are noted."""
    for start in range(0, len(sources), BATCH):
        found = read_in(work.task, sources[start : start + BATCH], work.shape, work.skipped)
        if found:
            yield list(found), to_float(torch.stack(list(found.values())))


def read_in(
    task: ImageTask, sources: Iterable[Source], shape: ImageShape, skipped: list[Skipped]
) -> dict[Source, Tensor]:
    """Give the images, uint8 ``(C, H, W)``, but for broken ones, which are noted in ``skipped``."""
    found = {}
    for source in sources:
        try:
            found[source] = task.read(source, shape)
        except BrokenImageError as error:
            skipped.append(Skipped(source.path, str(error).removeprefix(f"{source.path}: ")))
    return found


def make(work: Work, sources: Sequence[Source], images: Tensor, seed: int) -> None:
    """Write the results of ``images`` ``(n, C, H, W)`` and one seed."""
    images, module = images.to(work.module.device), work.module
    with torch.no_grad():
        results = work.task.results(module, images, sources, [seed] * len(sources))
    for source, image in zip(sources, to_uint8(results).cpu(), strict=True):
        work.output.save(source.result(seed), image, work.settings_of(source, seed))
        work.made.add((source, seed))


def overview(work: Work, done: Sequence[Source]) -> Any:
    """Give the sheet of the first images: as given, as the model saw them, and the results."""
    shown, seeds = list(done[:SHEET_ROWS]), work.seeds[:SHEET_SEEDS]
    columns = {"input": [read(source, *work.shape[:2]) for source in shown]}
    images = to_float(torch.stack([work.task.read(source, work.shape) for source in shown]))
    corrupted = work.task.corrupted(work.module, images.to(work.module.device), shown)
    if corrupted is not None:
        columns["seen"] = list(to_uint8(corrupted).cpu())
    for seed in seeds:
        columns[f"seed {seed}"] = [
            decode_image(str(work.output.path(s.result(seed)))) for s in shown
        ]
    return sheet(columns)


def record(work: Work, done: Iterable[Source], seconds: float) -> dict[str, Any]:
    """Give what was made of what, for ``result.json``."""
    files = [
        {
            "input": str(source.path),
            "outputs": [
                {
                    "file": f"{source.result(seed)}.png",
                    "seed": seed,
                    "made": (source, seed) in work.made,
                }
                for seed in work.seeds
            ],
        }
        for source in done
    ]
    skipped = [{"input": str(entry.path), "reason": entry.reason} for entry in work.skipped]
    return {
        "settings": dict(work.settings),
        "images": len(files),
        "made": len(work.made),
        "kept": len(files) * len(work.seeds) - len(work.made),
        "seconds": round(seconds, 2),
        "files": files,
        "skipped": skipped,
    }


def digest(paths: Iterable[Path]) -> str:
    """Give the beginning of the SHA-256 of files, by which a changed input is known."""
    found = hashlib.sha256()
    for path in paths:
        found.update(path.read_bytes())
    return found.hexdigest()[:16]
