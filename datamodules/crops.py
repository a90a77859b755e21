"""Where training images are cut at random, each by a seed of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, RandomCrop, RandomResizedCrop
from torchvision.transforms import functional as tv

CROPS = ("center", "random", "random_resized")
_ASPECTS = [3 / 4, 4 / 3]
_BICUBIC = InterpolationMode.BICUBIC


class Crop(NamedTuple):
    """How training images become squares.

    kind: "center", the largest square in the middle; "random", a square at a random place after
        the shorter side was resized to 8/7 of its side (256 for 224); or "random_resized", a
        rectangle of random area, aspect (3/4 to 4/3) and place, resized (Szegedy et al. 2015)
    scale: smallest and largest share of the area, for "random_resized"
    """

    kind: str
    scale: tuple[float, float]

    @property
    def is_random(self) -> bool:
        """Whether a seed is needed."""
        return self.kind != "center"

    def cut(self, pixels: Tensor, image_size: int, seed: int) -> Tensor:
        """The square (C, image_size, image_size) that `seed` cuts from uint8 pixels (C, H, W).

        Bicubic with antialias; torchvision decides the place from its generator, which is left as
        it was.
        """
        size = [image_size, image_size]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            if self.kind == "random":
                pixels = tv.resize(pixels, [-(-image_size * 8 // 7)], _BICUBIC, antialias=True)
                place = RandomCrop.get_params(pixels, (image_size, image_size))
            else:
                place = RandomResizedCrop.get_params(pixels, list(self.scale), _ASPECTS)
        cut: Tensor = tv.resized_crop(pixels, *place, size, _BICUBIC, antialias=True)
        return cut


def make_crop(kind: str, scale: Sequence[float]) -> Crop:
    """The crop of these settings.

    Raises ValueError for an unknown kind, or shares of the area that are none.
    """
    if kind not in CROPS:
        raise ValueError(f"crop={kind!r} is unknown; use one of {', '.join(CROPS)}")
    if len(scale) != 2 or not 0 < scale[0] <= scale[1] <= 1:
        raise ValueError(
            f"crop_scale={list(scale)}; expected two shares of the area in (0, 1], the smaller one "
            "first, such as [0.2, 1.0]"
        )
    return Crop(kind, (scale[0], scale[1]))
