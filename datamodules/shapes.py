"""Coloured shapes on plain backgrounds, drawn by the repository itself: any number, any size."""

from __future__ import annotations

import torch

from datamodules.drawing import SHAPES, draw_shapes
from datamodules.in_memory import Images, InMemoryDataModule

TRAIN, TEST = 0, 1


class Shapes(InMemoryDataModule):
    """One shape an image, varied in colour, position, size, rotation and background.

    The label is the shape (`datamodules.drawing.SHAPES`), and the hue follows from it: that of
    class k lies within a quarter step of k / 10 turns of the colour circle, so no two classes share
    one. Saturation and value vary freely, and backgrounds are nearly grey. So a grey image tells,
    through the shape, what colour it had: colourising can be learnt, up to that variation.

    size, test_size: images in the training split (validation included) and in the test split
    draw_seed: of the images; image i of a split depends on it, the split and i alone
    The other parameters are those of `InMemoryDataModule`; `seed` changes no image.
    """

    name = "shapes"
    source_channels, source_classes = 3, len(SHAPES)

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
        for key, value in {"size": size, "test_size": test_size}.items():
            if value < 1:
                raise ValueError(f"{key}={value} is not a positive number of images")
        if draw_seed < 0:
            raise ValueError(f"draw_seed={draw_seed} is negative; use 0 or more")
        self.size, self.test_size, self.draw_seed = size, test_size, draw_seed

    def read(self) -> tuple[Images, Images]:
        """Both splits, drawn."""
        return self._draw(self.size, TRAIN), self._draw(self.test_size, TEST)

    def _draw(self, size: int, stream: int) -> Images:
        labels = torch.arange(size) % len(SHAPES)
        return Images(draw_shapes(labels, self.image_size, (self.draw_seed, stream)), labels)
