"""What a denoising layer learns at several levels of corruption: its filters, and their size.

``python docs/first_layer_filters.py [--images N] [--units N] [--output FILE.png] [key=value ...]``

The picture of Vincent et al. (2010), figures 6 and 7, made on Fashion-MNIST: the lowest layer of a
stack of sigmoid units alone, tied weights and cross-entropy, all else equal. Prints what the
filters measure.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from pathlib import Path

from hydra import compose, initialize_config_dir
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import experiment  # noqa: E402
from callbacks.pictures import grid  # noqa: E402
from config import register  # noqa: E402
from functional.filters import filter_pictures, filter_shape  # noqa: E402

LEVELS = (0.0, 0.1, 0.25, 0.5)
SETTINGS = [
    "method=sdae", "data=fashion_mnist", "callbacks=none", "logger=none",
    "method.network.activation=sigmoid", "method.loss=bce", "data.batch_size=100",
]  # fmt: skip


def learnt_filters(level: float, units: int, images: int, overrides: list[str]) -> Tensor:
    """Give the filters ``(units, C, H, W)`` of a layer trained with a share ``level`` masked."""
    register()
    own = [f"method.network.widths=[{units}]", f"method.corruption.ratio={level}"]
    length = [f"budget.images={images}", f"method.pretrain_images={images}"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("train", [*SETTINGS, *own, *length, *overrides])
    cfg.validate_every_images = images
    with tempfile.TemporaryDirectory() as folder:
        built = experiment.build(experiment.check(cfg), Path(folder), "filters")
        built.trainer.fit(built.module, datamodule=built.data)
    filters: Tensor = built.module.network.filters()  # type: ignore[operator, union-attr]
    return filters


def picture(filters: dict[float, Tensor], shown: int = 64) -> Image.Image:
    """Give the first filters of each level side by side, labelled."""
    panels = [grid(filter_pictures(some[:shown]), min_side=42) for some in filters.values()]
    width, height, top = panels[0].width, panels[0].height, 26
    sheet = Image.new("RGB", (len(panels) * (width + 8) - 8, height + top), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for place, (level, panel) in enumerate(zip(filters, panels, strict=True)):
        sheet.paste(panel, (place * (width + 8), top))
        text = f"{100 * level:g} % masked" if level else "no corruption"
        pen.text((place * (width + 8) + 2, 5), text, "black", font=font)
    return sheet


def table(filters: dict[float, Tensor]) -> str:
    """Give the medians of what the filters measure, as Markdown."""
    rows = ["| masked | extent (pixels) | radius (pixels) | frequency (cycles/pixel) |"]
    rows.append("|---|---|---|---|")
    for level, some in filters.items():
        extent, radius, frequency = (float(value.median()) for value in filter_shape(some))
        rows.append(f"| {100 * level:g} % | {extent:.0f} | {radius:.2f} | {frequency:.3f} |")
    return "\n".join(rows)


def main() -> None:
    """Train at each level, print the table, write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--units", type=int, default=1000)
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "first_layer_filters.png")
    arguments, overrides = parser.parse_known_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    filters = {
        level: learnt_filters(level, arguments.units, arguments.images, overrides)
        for level in LEVELS
    }
    print(table(filters))
    picture(filters).save(arguments.output)
    print(f"wrote {arguments.output}")


if __name__ == "__main__":
    main()
