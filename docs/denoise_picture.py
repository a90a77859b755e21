"""Test images as they are, under noise, and restored by the best classical filter and by a model.

``python docs/denoise_picture.py RUN [--output FILE.png] [--sigma 0.2 0.5 0.8]``

RUN is the folder of a run of ``experiment=quick/dae``. Filters have their best strength on training
images, as in the table of scores; the one shown has the best mean PSNR on the images shown.
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

CLOTHES, LABEL = 10, 150


def restored_rows(module: Any, data: Any, sigma: float) -> list[tuple[str, Tensor]]:
    """Give the rows of one noise level: what they show, and images ``(CLOTHES, C, H, W)``."""
    task = module.restore_task(f"denoise-{sigma:g}")
    clean, training = (
        to_float(next(data.uint8_batches(split, n)))
        for split, n in (("test", CLOTHES), ("train", TUNING_IMAGES))
    )
    tuning = task.operator(image_seeds(1, range(len(training))), module.device)
    operator = task.operator(image_seeds(0, range(CLOTHES)), module.device)
    corrupted = operator.apply(clean)
    found = baselines(corrupted, operator, tuned_strengths(training, tuning))
    found["DAE"] = module.restore(corrupted, operator, seeds=image_seeds(0, range(CLOTHES)))
    scores = {
        name: float(psnr(quantised(images), quantised(clean)).mean())
        for name, images in found.items()
    }
    best = max(found.keys() - {"DAE", "corrupted"}, key=lambda name: scores[name])
    shown = {f"noise {sigma:g}": "corrupted", best: best, "DAE": "DAE"}
    return [(f"{label}\n{scores[name]:.1f} dB", found[name]) for label, name in shown.items()]


def labelled(rows: list[tuple[str, Tensor]]) -> Image.Image:
    """Give one picture of rows of images, named on the left."""
    picture = grid(torch.cat([images for _, images in rows]).clamp(-1, 1), CLOTHES)
    sheet = Image.new("RGB", (picture.width + LABEL, picture.height), "white")
    sheet.paste(picture, (LABEL, 0))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    height = picture.height / len(rows)
    for place, (name, _) in enumerate(rows):
        pen.text((8, (place + 0.5) * height), name, "black", font=font, anchor="lm")
    return sheet


def main() -> None:
    """Restore at each level and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "dae_denoise.png")
    parser.add_argument("--sigma", type=float, nargs="+", default=[0.2, 0.5, 0.8])
    arguments = parser.parse_args()
    config = yaml.safe_load((arguments.run / "config.yaml").read_text())
    module, data = experiment.load(arguments.run, config), experiment.build_data(config)
    data.prepare_data()
    data.setup("test")
    rows = [("test images", to_float(next(data.uint8_batches("test", CLOTHES))))]
    for sigma in arguments.sigma:
        rows += restored_rows(module, data, sigma)
    labelled(rows).save(arguments.output)
    print(f"wrote {arguments.output}")


if __name__ == "__main__":
    main()
