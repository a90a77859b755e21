"""Grids of images, as files and as what loggers take."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lightning import Trainer
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import make_grid

from functional.images import to_uint8


def grid(images: Tensor, columns: int | None = None, min_side: int = 56) -> Image.Image:
    """Give one picture of images in [-1, 1].

    Args:
        images: ``(N, C, H, W)``, laid out in ``columns`` (about square by default), or rows
            ``(N, K, C, H, W)`` of K images each. C is 1 or 3.
        min_side: images smaller than this are enlarged by a whole factor, pixels kept square.
    """
    if images.ndim == 5:
        columns = images.shape[1]
        images = images.flatten(0, 1)
    columns = columns or max(1, round(len(images) ** 0.5))
    factor = max(1, -(-min_side // images.shape[-1]))
    pixels = to_uint8(images.float().cpu())
    pixels = pixels.repeat_interleave(factor, dim=-1).repeat_interleave(factor, dim=-2)
    picture: Image.Image = to_pil_image(make_grid(pixels, nrow=columns, padding=2, pad_value=255))
    return picture


def save_picture(picture: Image.Image, path: Path) -> Path:
    """Write a PNG file under ``path``, whole or not at all."""
    return save_whole(picture, path, "PNG")


def save_whole(picture: Image.Image, path: Path, kind: str, **settings: Any) -> Path:
    """Write ``path`` as Pillow's format ``kind`` with its ``settings``, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    picture.save(partial, format=kind, **settings)
    os.replace(partial, path)
    return path


def log_picture(trainer: Trainer, key: str, picture: Image.Image, caption: str, step: int) -> None:
    """Hand a picture to every logger that can show one."""
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(key, [picture], caption=[caption])
        elif isinstance(logger, TensorBoardLogger):
            import numpy as np

            pixels = np.asarray(picture.convert("RGB"))
            logger.experiment.add_image(key, pixels, step, dataformats="HWC")
