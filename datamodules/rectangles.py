"""Outlines of rectangles, wide or tall (Larochelle et al. 2007), drawn by the repository itself."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from datamodules.in_memory import Images, InMemoryDataModule

LEAST_DIFFERENCE = 3
"""Pixels by which width and height differ at least; others are drawn again."""


class Rectangles(InMemoryDataModule):
    """The one-pixel border of a rectangle, white on black; the label is 1 where it is tall.

    Width and height are uniform, drawn again where they differ by less than 3 pixels; the place is
    uniform among those where the whole rectangle lies inside.

    size, test_size: 1,200 (of which 200 for validation) and 50,000 in the paper
    draw_seed: of the rectangles
    The other parameters are those of `InMemoryDataModule`.
    """

    name = "rect"
    source_classes = 2

    def __init__(
        self,
        *,
        batch_size: int,
        channels: int,
        image_size: int,
        num_classes: int,
        seed: int,
        horizontal_flip: bool,
        validation_size: int,
        resident: str,
        size: int,
        test_size: int,
        draw_seed: int,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            channels=channels,
            image_size=image_size,
            num_classes=num_classes,
            seed=seed,
            horizontal_flip=horizontal_flip,
            validation_size=validation_size,
            resident=resident,
        )
        if min(size, test_size) < 1 or draw_seed < 0 or image_size <= LEAST_DIFFERENCE:
            raise ValueError(
                f"{size=}, {test_size=}, {draw_seed=}, {image_size=}: expected 1 image or more, a "
                f"seed of 0 or more and images of more than {LEAST_DIFFERENCE} pixels"
            )
        self.size, self.test_size, self.draw_seed = size, test_size, draw_seed

    def read(self) -> tuple[Images, Images]:
        """Both splits, drawn."""
        return self._draw(self.size, 0), self._draw(self.test_size, 1)

    def _draw(self, n: int, stream: int) -> Images:
        draw = np.random.default_rng((self.draw_seed, stream))
        sides = draw.integers(1, self.image_size + 1, (n, 2))
        while len(close := np.flatnonzero(np.abs(sides[:, 0] - sides[:, 1]) < LEAST_DIFFERENCE)):
            sides[close] = draw.integers(1, self.image_size + 1, (len(close), 2))
        corners = draw.integers(0, self.image_size - sides + 1)
        pixels = outlines(torch.from_numpy(corners), torch.from_numpy(sides), self.image_size)
        return Images(pixels, torch.from_numpy((sides[:, 0] > sides[:, 1]).astype(np.int64)))


def outlines(corners: Tensor, sides: Tensor, image_size: int) -> Tensor:
    """Uint8 images (N, 1, S, S) of rectangles.

    corners, sides: int64 (N, 2), top and left, height and width
    """
    at = torch.arange(image_size)
    first, last = corners[:, :, None], (corners + sides - 1)[:, :, None]
    within, on_edge = (at >= first) & (at <= last), (at == first) | (at == last)
    rows, columns = within[:, 0, :, None], within[:, 1, None, :]
    edge = on_edge[:, 0, :, None] | on_edge[:, 1, None, :]
    return (255 * (rows & columns & edge)).to(torch.uint8).unsqueeze(1)
