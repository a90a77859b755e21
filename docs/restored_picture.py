"""Test images as they are, corrupted, and restored by the best classical filter and by a model.

``python docs/restored_picture.py RUN [--output FILE.png] [--tasks denoise-0.2 denoise-0.5 ...]``

RUN is the folder of a run of a denoising autoencoder, as of ``experiment=quick/dae``. Filters have
their best strength on training images, as in the table of scores; the one shown has the best mean
PSNR on the images shown.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
import yaml
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import experiment  # noqa: E402
from callbacks.pictures import grid  # noqa: E402
from functional.images import to_float  # noqa: E402
from functional.seeding import image_seeds  # noqa: E402
from metrics.classical import TUNING_IMAGES, baselines, tuned_strengths  # noqa: E402
from metrics.restoration import psnr, quantised  # noqa: E402

SHOWN, LABEL = 10, 150


def restored_rows(module: Any, data: Any, name: str) -> list[tuple[str, Tensor]]:
    """Give the rows of one task: what they show, and images ``(SHOWN, C, H, W)``."""
    task = module.restore_task(name)
    clean, training = (
        to_float(next(data.uint8_batches(split, n)))
        for split, n in (("test", SHOWN), ("train", TUNING_IMAGES))
    )
    tuning = task.operator(image_seeds(1, range(len(training))), module.device)
    operator = task.operator(image_seeds(0, range(SHOWN)), module.device)
    corrupted = operator.apply(clean)
    found = baselines(corrupted, operator, tuned_strengths(training, tuning))
    found["DAE"] = module.restore(corrupted, operator, seeds=image_seeds(0, range(SHOWN)))
    scores = {
        way: float(psnr(quantised(images), quantised(clean)).mean())
        for way, images in found.items()
    }
    best = max(found.keys() - {"DAE", "corrupted"}, key=lambda way: scores[way])
    shown = {name.replace("-", " "): "corrupted", best: best, "DAE": "DAE"}
    return [(f"{label}\n{scores[way]:.1f} dB", found[way]) for label, way in shown.items()]


def labelled(rows: list[tuple[str, Tensor]]) -> Image.Image:
    """Give one picture of rows of images, named on the left."""
    picture = grid(torch.cat([images for _, images in rows]).clamp(-1, 1), SHOWN)
    sheet = Image.new("RGB", (picture.width + LABEL, picture.height), "white")
    sheet.paste(picture, (LABEL, 0))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    height = picture.height / len(rows)
    for place, (name, _) in enumerate(rows):
        pen.text((8, (place + 0.5) * height), name, "black", font=font, anchor="lm")
    return sheet


def main() -> None:
    """Restore in each task and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "dae_denoise.png")
    noise = ["denoise-0.2", "denoise-0.5", "denoise-0.8"]
    parser.add_argument("--tasks", nargs="+", default=noise)
    arguments = parser.parse_args()
    config = yaml.safe_load((arguments.run / "config.yaml").read_text())
    module, data = experiment.load(arguments.run, config), experiment.build_data(config)
    data.prepare_data()
    data.setup("test")
    rows = [("test images", to_float(next(data.uint8_batches("test", SHOWN))))]
    for task in arguments.tasks:
        rows += restored_rows(module, data, task)
    labelled(rows).save(arguments.output)
    print(f"wrote {arguments.output}")


if __name__ == "__main__":
    main()
