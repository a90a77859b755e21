"""What corrupts an image without noise: blur, fewer pixels, no colour, JPEG.

Each is its own operator: what it does depends on its settings alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg, encode_jpeg

from functional.corruption import Corruption, Shape
from functional.images import to_float, to_uint8
from functional.masking import Noise
from functional.patches import patch_grid

SMALLEST = 1e-4
"""Singular values of a blur, as a share of the largest, below which nothing is restored."""
LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601)."""


class SVD(NamedTuple):
    """U S V^T of a matrix, float64."""

    U: Tensor
    S: Tensor
    Vh: Tensor


@dataclass(frozen=True)
class Blur(Corruption):
    """Convolves with a Gaussian, its edges repeated beyond the image.

    Attributes:
        sigma: standard deviation in pixels.
    """

    name = "blur"
    sigma: float
    gain: ClassVar[float] = SMALLEST

    def __post_init__(self) -> None:
        if not 0 < self.sigma < math.inf:
            raise ValueError(f"sigma={self.sigma} of a blur; expected pixels above 0, say 1.5")

    def tasks(self) -> tuple[str, ...]:
        return (f"deblur-{self.sigma:g}",)

    def draw(self, noise: Noise, shape: Shape) -> Blur:
        return self

    def apply(self, images: Tensor) -> Tensor:
        """Give ``images`` ``(N, C, H, W)`` blurred; the kernel ends at 4 sigma."""
        weights = gaussian_kernel(self.sigma).to(images.device, images.dtype)
        reach = len(weights) // 2
        n, channels, height, width = images.shape
        flat = F.pad(images.flatten(0, 1)[:, None], [reach] * 4, mode="replicate")
        flat = F.conv2d(F.conv2d(flat, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))
        return flat.view(n, channels, height, width)

    def pinv(self, measured: Tensor) -> Tensor:
        """Give A+ y, computed in float64, of singular values down to ``SMALLEST`` of the largest.

        The others are below what float32 keeps of y: A A+ A = A to within ``SMALLEST``.
        """
        down, across = (blur_svd(self.sigma, side, measured.device) for side in measured.shape[2:])
        values = singular_values(down, across)
        inverse = torch.where(values > 0, 1 / values, 0)
        coefficients = inverse * (down.U.T @ measured.double() @ across.U)
        return (down.Vh.T @ coefficients @ across.Vh).to(measured.dtype)

    def spectral(self, images: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Give V f(S) V^T x; see ``functional.linear_operators.spectral``."""
        down, across = (blur_svd(self.sigma, side, images.device) for side in images.shape[2:])
        values = function(singular_values(down, across))
        coefficients = values * (down.Vh @ images.double() @ across.Vh.T)
        return (down.Vh.T @ coefficients @ across.Vh).to(images.dtype)


@cache
def gaussian_kernel(sigma: float) -> Tensor:
    """Give the weights of a Gaussian of ``sigma`` pixels up to 4 sigma, float64, of sum 1."""
    reach = math.ceil(4 * sigma)
    weights = torch.exp(-torch.arange(-reach, reach + 1.0).double().square() / (2 * sigma**2))
    return weights / weights.sum()


@cache
def blur_svd(sigma: float, side: int, device: torch.device) -> SVD:
    """Give the decomposition of the blur of a line of ``side`` pixels, its ends repeated."""
    kernel = gaussian_kernel(sigma)
    impulses = torch.eye(side, dtype=torch.float64)[:, None]
    padded = F.pad(impulses, [len(kernel) // 2] * 2, mode="replicate")
    found = torch.linalg.svd(F.conv1d(padded, kernel[None, None])[:, 0].T)
    return SVD(*(part.to(device) for part in found))


def singular_values(down: SVD, across: SVD) -> Tensor:
    """Give those of the blur of an image, ``(H, W)``; 0 where they are too small."""
    values = down.S[:, None] * across.S
    return torch.where(values > SMALLEST * values.max(), values, 0)


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

    def pinv(self, measured: Tensor) -> Tensor:
        """Give A+ y, which is A y: the averages are an orthogonal projection."""
        return self.apply(measured)


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

    @property
    def gain(self) -> float:
        """The one singular value that is not 0."""
        return math.sqrt(3 * math.fsum(weight**2 for weight in LUMA))

    def pinv(self, measured: Tensor) -> Tensor:
        """Give A+ y: the colour of least norm that has the grey of y."""
        weights = torch.tensor(LUMA, dtype=measured.dtype, device=measured.device).view(1, 3, 1, 1)
        return measured.mean(dim=1, keepdim=True) * weights / weights.square().sum()


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
