"""One picture of a run as it trains: a row of samples, from the same seeds, per validation.

``python docs/samples_over_training.py RUN [OUTPUT.png]``
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw


def picture(run: Path, side: int = 58, count: int = 8) -> Image.Image:
    """Give the first ``count`` samples of each grid in ``run/samples``, one row each, labelled."""
    files = sorted((run / "samples").glob("samples_*.png"))
    if not files:
        raise SystemExit(f"{run / 'samples'} holds no samples_*.png")
    width = 110 + count * side
    sheet = Image.new("RGB", (width, side * len(files) + 4), "white")
    for row, file in enumerate(files):
        grid = Image.open(file).convert("RGB")
        sheet.paste(grid.crop((0, 0, count * side, side)), (108, row * side))
        images = int(file.stem.split("_")[-1])
        ImageDraw.Draw(sheet).text((6, row * side + side // 2 - 6), f"{images:,} images", "black")
    return sheet


if __name__ == "__main__":
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else Path("docs/samples_over_training.png")
    picture(Path(sys.argv[1])).save(target)
    print(f"wrote {target}")
