"""Pictures of a comparison: the newest samples of each recipe, and how they came about."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from comparison.board import Board
from comparison.runs import Run

NAME = re.compile(r"(?P<kind>.+)_(?P<images>\d+)\.png")
KINDS = ("samples", "reconstruction", "restored", "chain", "classes")
"""What is looked for in a run's folder, in this order; else the first kind there is."""
HEIGHT, GAP, LINE, WIDTH = 360, 12, 20, 1600
FRAMES, MILLISECONDS = 24, 300


@dataclass(frozen=True)
class Picture:
    """One picture of a run folder: its kind, and the images seen when it was made."""

    path: Path
    kind: str
    images_seen: int


def pictures(run: Run) -> list[Picture]:
    """Give the pictures of a run, oldest first."""
    found = []
    for path in sorted((run.folder / "samples").glob("*.png")):
        matched = NAME.fullmatch(path.name)
        if matched:
            found.append(Picture(path, matched["kind"], int(matched["images"])))
    return sorted(found, key=lambda picture: (picture.images_seen, picture.kind))


def series(run: Run) -> list[Picture]:
    """Give the pictures of the kind that shows best what a run makes, oldest first."""
    found = pictures(run)
    kinds = {picture.kind for picture in found}
    kind = next((k for k in KINDS if k in kinds), min(kinds, default=""))
    return [picture for picture in found if picture.kind == kind]


def shown_runs(board: Board) -> dict[str, Run]:
    """Give by recipe the run of its lowest seed that has pictures."""
    found: dict[str, Run] = {}
    for label, runs in board.of_recipe().items():
        with_pictures = [run for run in sorted(runs, key=lambda r: r.seed) if series(run)]
        if with_pictures:
            found[label] = with_pictures[0]
    return found


def side_by_side(board: Board) -> Image.Image | None:
    """Give the newest samples of each recipe, of the same seeds, in one picture; None without."""
    panels = {
        label: (series(run)[-1], f"{label}: {series(run)[-1].images_seen:,} images")
        for label, run in shown_runs(board).items()
    }
    return _sheet([(p, text) for p, text in panels.values()]) if panels else None


def progress(board: Board) -> bytes | None:
    """Give a GIF in which the samples of each recipe come about, by share of its training."""
    runs = {label: series(run) for label, run in shown_runs(board).items()}
    frames = max((len(found) for found in runs.values()), default=0)
    if frames < 2:
        return None
    count = min(frames, FRAMES)
    images = [
        _sheet([(_at(found, i / (count - 1)), label) for label, found in runs.items()])
        for i in range(count)
    ]
    file = io.BytesIO()
    pages = [image.quantize(128) for image in images]
    # The last frame stands for as long as six others.
    pages[0].save(
        file, format="GIF", save_all=True, append_images=pages[1:], loop=0,
        duration=[MILLISECONDS] * (count - 1) + [6 * MILLISECONDS],
    )  # fmt: skip
    return file.getvalue()


def _at(found: Sequence[Picture], share: float) -> Picture:
    return found[round(share * (len(found) - 1))]


def _sheet(panels: Sequence[tuple[Picture, str]]) -> Image.Image:
    """Give panels in rows, each with its text above."""
    opened = [(_scaled(picture.path), text) for picture, text in panels]
    places, x, y = [], GAP, 0
    for image, _ in opened:
        if x > GAP and x + image.width + GAP > WIDTH:
            x, y = GAP, y + HEIGHT + LINE + GAP
        places.append((x, y))
        x += image.width + GAP
    right = max(x + image.width for (x, _), (image, _) in zip(places, opened, strict=True))
    sheet = Image.new("RGB", (right + GAP, y + HEIGHT + LINE + 2 * GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for (x, y), (image, text) in zip(places, opened, strict=True):
        draw.text((x, y + GAP // 2), _fitted(text, font, image.width), fill="black", font=font)
        sheet.paste(image, (x, y + LINE + GAP))
    return sheet


def _fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Cut ``text`` where it would run into the next panel."""
    while text and font.getlength(text) > width:
        text = text[:-2].rstrip(" .") + "…" if len(text) > 2 else ""
    return text


def _scaled(path: Path) -> Image.Image:
    """Give a picture as high as the row, a hard-edged one where that enlarges it."""
    with Image.open(path) as picture:
        image = picture.convert("RGB")
    size = (max(1, round(image.width * HEIGHT / image.height)), HEIGHT)
    method = Image.Resampling.NEAREST if image.height < HEIGHT else Image.Resampling.LANCZOS
    return image.resize(size, method)
