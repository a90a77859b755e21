"""What corrupts an image without noise: blur, fewer pixels, no colour, JPEG.

Each is its own operator: what it does depends on its settings alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg, encode_jpeg

from functional.corruption import Corruption, Shape
from functional.images import to_float, to_uint8
from functional.masking import Noise
from functional.patches import patch_grid

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601)."""


@dataclass(frozen=True)
class Blur(Corruption):
    """Convolves with a Gaussian, its edges repeated beyond the image.

    Attributes:
        sigma: standard deviation in pixels.
    """

    name = "blur"
    sigma: float

    def __post_init__(self) -> None:
        if not 0 < self.sigma < math.inf:
            raise ValueError(f"sigma={self.sigma} of a blur; expected pixels above 0, say 1.5")

    def tasks(self) -> tuple[str, ...]:
        return (f"deblur-{self.sigma:g}",)

    def draw(self, noise: Noise, shape: Shape) -> Blur:
        return self

    def apply(self, images: Tensor) -> Tensor:
        """Give ``images`` ``(N, C, H, W)`` blurred; the kernel ends at 4 sigma."""
        reach = math.ceil(4 * self.sigma)
        place = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
        weights = torch.exp(-place.square() / (2 * self.sigma**2))
        weights = weights / weights.sum()
        n, channels, height, width = images.shape
        flat = F.pad(images.flatten(0, 1)[:, None], [reach] * 4, mode="replicate")
        flat = F.conv2d(F.conv2d(flat, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))
        return flat.view(n, channels, height, width)


@dataclass(frozen=True)
class Downsample(Corruption):
    """Averages squares of pixels and shows each average over its whole square.

    Attributes:
        factor: side of a square in pixels.
    """

    name = "downsample"
    factor: int

    def __post_init__(self) -> None:
        if self.factor < 2:
            raise ValueError(f"factor={self.factor} of down-sampling; expected 2 or more")

    def check(self, shape: Shape) -> None:
        patch_grid(shape[1:], (self.factor, self.factor))

    def tasks(self) -> tuple[str, ...]:
        return (f"super-resolve-{self.factor}",)

    def draw(self, noise: Noise, shape: Shape) -> Downsample:
        return self

    def apply(self, images: Tensor) -> Tensor:
        """Give ``images`` ``(N, C, H, W)`` with fewer pixels, at their own size."""
        small = F.avg_pool2d(images, self.factor)
        return F.interpolate(small, scale_factor=self.factor, mode="nearest")


@dataclass(frozen=True)
class Grey(Corruption):
    """Takes the colour out: three equal channels, the luma of ITU-R BT.601."""

    name = "grey"

    def check(self, shape: Shape) -> None:
        if shape[0] != 3:
            raise ValueError(
                f"images of {shape[0]} channel have no colour to take out and to give back; use "
                "data of 3 channels, such as data=shapes or data=cifar10"
            )

    def tasks(self) -> tuple[str, ...]:
        return ("colorize",)

    def draw(self, noise: Noise, shape: Shape) -> Grey:
        return self

    def apply(self, images: Tensor) -> Tensor:
        """Give ``images`` ``(N, 3, H, W)`` in grey."""
        weights = torch.tensor(LUMA, dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
        return (images * weights).sum(dim=1, keepdim=True).expand_as(images)


@dataclass(frozen=True)
class JPEG(Corruption):
    """Compresses each image, as bytes, by JPEG.

    Attributes:
        quality: of libjpeg, 1 to 100.
    """

    name = "jpeg"
    quality: int

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise ValueError(f"quality={self.quality} of JPEG; expected 1 to 100, say 10")

    def check(self, shape: Shape) -> None:
        if shape[0] not in (1, 3):
            raise ValueError(f"JPEG takes images of 1 or 3 channels, not of {shape[0]}")

    def tasks(self) -> tuple[str, ...]:
        return (f"jpeg-{self.quality}",)

    def draw(self, noise: Noise, shape: Shape) -> JPEG:
        return self

    def apply(self, images: Tensor) -> Tensor:
        """Give ``images`` ``(N, C, H, W)`` written and read again; no gradient passes."""
        mode = ImageReadMode.GRAY if images.shape[1] == 1 else ImageReadMode.RGB
        files = [encode_jpeg(image, self.quality) for image in to_uint8(images.detach()).cpu()]
        return to_float(torch.stack([decode_jpeg(f, mode) for f in files])).to(images.device)
