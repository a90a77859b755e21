"""Synthetic images whose classes are easy to tell apart, for tests."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from datamodules.in_memory import Images, InMemoryDataModule


class Fake(InMemoryDataModule):
    """Stripes: a class is a direction and a tint, an image a phase and a little noise.

    size, test_size: images in the training split (validation included) and in the test split
    num_classes: any number; 0 gives one kind of image without labels
    The images depend on the shape, `num_classes` and the split alone, never on `seed`.
    """

    name = "fake"

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
        self.size, self.test_size = size, test_size
        self.source_channels, self.source_classes = channels, num_classes

    def read(self) -> tuple[Images, Images]:
        """Both splits, drawn."""
        return self._draw(self.size, 0), self._draw(self.test_size, 1)

    def _draw(self, size: int, stream: int) -> Images:
        generator = torch.Generator().manual_seed(stream)
        classes = max(self.num_classes, 1)
        kind = torch.arange(size) % classes
        phase = torch.rand(size, 1, 1, 1, generator=generator) * 2 * math.pi
        shape = (size, self.channels, self.image_size, self.image_size)
        noise = torch.randn(shape, generator=generator)
        waves = _stripes(kind, classes, self.channels, self.image_size, phase)
        pixels = (127.5 + 100 * waves + 5 * noise).round().clamp(0, 255).to(torch.uint8)
        return Images(pixels, kind if self.num_classes else torch.full((size,), -1))


def _stripes(kind: Tensor, classes: int, channels: int, side: int, phase: Tensor) -> Tensor:
    """Waves (N, channels, side, side) in [-1, 1]; the class sets direction and tint."""
    angle = (kind * math.pi / classes).view(-1, 1, 1, 1)
    axis = torch.arange(side) / side
    along = axis.view(1, 1, 1, -1) * angle.cos() + axis.view(1, 1, -1, 1) * angle.sin()
    tint = torch.cos(2 * angle + torch.arange(channels).view(1, -1, 1, 1) * 2.1).abs()
    return torch.sin(2 * math.pi * 2 * along + phase) * (0.4 + 0.6 * tint)
