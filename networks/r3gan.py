"""R3GAN's generator and discriminator (Huang et al. 2024, config E): residual, no normalisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from networks.blocks import (
    FeatureDiscriminator,
    ProjectionHead,
    check_labels,
    check_latent,
    halvings,
    latent_with_labels,
)

SLOPE = 0.2


class Block(nn.Module):
    """The input plus: 1 x 1, leaky ReLU, grouped 3 x 3, leaky ReLU, 1 x 1 convolution.

    Args:
        channels: of the input and the output; inside there are ``expansion`` times as many.
        expansion: of the inverted bottleneck.
        group_size: channels of one group of the 3 x 3 convolution.
        residual_blocks: L of the network, for the initialisation (:func:`fixup`).
    """

    def __init__(
        self, channels: int, expansion: int, group_size: int, residual_blocks: int
    ) -> None:
        super().__init__()
        hidden = channels * expansion
        if hidden % group_size:
            raise ValueError(
                f"group_size {group_size} does not divide {channels} x {expansion} channels; "
                "change widths, expansion or group_size"
            )
        groups = hidden // group_size
        self.conv1 = nn.Conv2d(channels, hidden, 1)
        self.conv2 = nn.Conv2d(hidden, hidden, 3, padding=1, groups=groups)
        self.conv3 = nn.Conv2d(hidden, channels, 1, bias=False)
        fixup([self.conv1, self.conv2, self.conv3], residual_blocks)

    def forward(self, x: Tensor) -> Tensor:
        h = F.leaky_relu(self.conv1(x), SLOPE)
        h = F.leaky_relu(self.conv2(h), SLOPE)
        return cast(Tensor, x + self.conv3(h))


def fixup(layers: Sequence[nn.Conv2d], residual_blocks: int) -> None:
    """Initialise the m ``layers`` of one of L ``residual_blocks`` as Zhang et al. (2019) do.

    The last weight is zero, so that the block starts as the identity; the others are He-normal
    times ``L ** (-1 / (2m - 2))``; biases are zero.
    """
    scale = residual_blocks ** (-1 / (2 * len(layers) - 2))
    for layer in layers[:-1]:
        he_normal(layer, scale * math.sqrt(2 / (1 + SLOPE**2)))
    nn.init.zeros_(layers[-1].weight)


def he_normal(layer: nn.Conv2d | nn.Linear, gain: float = 1.0) -> None:
    """Draw the weight from a normal of std ``gain / sqrt(fan_in)``; set the bias to zero."""
    nn.init.normal_(layer.weight, std=gain / math.sqrt(layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class Resample(nn.Module):
    """Doubling (``up``) or halving under the filter [1, 3, 3, 1] along either axis, beyond the
    border 0, and a 1 x 1 convolution where channels change.

    Doubling is bilinear interpolation. The two steps commute: the convolution works on the smaller
    maps.
    """

    kernel: Tensor

    def __init__(self, c_in: int, c_out: int, up: bool) -> None:
        super().__init__()
        self.up = up
        self.mix: nn.Module = nn.Identity()
        if c_in != c_out:
            self.mix = nn.Conv2d(c_in, c_out, 1, bias=False)
            he_normal(self.mix)
        row = torch.tensor([1.0, 3.0, 3.0, 1.0]) / (4 if up else 8)
        self.register_buffer("kernel", torch.outer(row, row), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mix(x) if self.up else x
        channels = x.shape[1]
        kernel = self.kernel.to(x.dtype).expand(channels, 1, 4, 4)
        resample = F.conv_transpose2d if self.up else F.conv2d
        x = resample(x, kernel, stride=2, padding=1, groups=channels)
        return x if self.up else cast(Tensor, self.mix(x))


class Basis(nn.Module):
    """The input layer of G: learnt maps ``(C, base, base)``, each scaled by a linear map of z."""

    def __init__(self, inputs: int, channels: int, base: int) -> None:
        super().__init__()
        self.maps = nn.Parameter(torch.randn(base, base, channels))
        self.linear = nn.Linear(inputs, channels, bias=False)
        he_normal(self.linear)

    def forward(self, z: Tensor) -> Tensor:
        scaled = self.linear(z)[:, None, None] * self.maps
        # Stored as (N, H, W, C), so that the result is channels_last without a copy.
        return cast(Tensor, scaled).permute(0, 3, 1, 2)


class ClassHead(nn.Module):
    """Logits ``<linear map of phi, vector of the class>``: no class, no logit."""

    def __init__(self, features: int, class_dim: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, class_dim, bias=False)
        vectors = cast(nn.Embedding, class_vectors(num_classes, class_dim))
        # The logit is a sum over class_dim products.
        nn.init.normal_(vectors.weight, std=(num_classes * class_dim) ** -0.5)
        self.embedding = vectors

    def forward(self, h: Tensor, phi: Tensor, labels: Tensor) -> Tensor:
        """Give float32 logits ``(N,)``, computed in float32 also under autocast."""
        with torch.autocast(h.device.type, enabled=False):
            return cast(Tensor, (self.linear(h.float()) * self.embedding(labels)).sum(dim=1))


def class_vectors(num_classes: int, class_dim: int) -> nn.Embedding | None:
    """Give a learnt vector for each class, He-normal as a linear map of one-hot labels; or None."""
    if not (num_classes and class_dim):
        return None
    vectors = nn.Embedding(num_classes, class_dim)
    nn.init.normal_(vectors.weight, std=num_classes**-0.5)
    return vectors


class Generator(nn.Module):
    """R3GAN's generator: latents ``(N, z_dim)`` to images.

    Args:
        z_dim: length of a latent.
        channels, image_size: of the images; the size is 4 to 7 times a power of two.
        widths: channels at each size, from the smallest (32 pixels have four: 4, 8, 16, 32).
        num_classes: 0 is unconditional; else labels join z.
        blocks: residual blocks at each size.
        expansion, group_size: see :class:`Block`.
        tanh: whether tanh bounds the images; False leaves them unbounded, as published.
        class_dim: length of the learnt vector by which a class joins z (the authors': z_dim), or 0
            for one-hot labels.
    """

    def __init__(
        self,
        z_dim: int,
        channels: int,
        image_size: int,
        widths: Sequence[int],
        num_classes: int = 0,
        blocks: int = 2,
        expansion: int = 2,
        group_size: int = 16,
        tanh: bool = True,
        class_dim: int = 0,
    ) -> None:
        super().__init__()
        base = _check(image_size, widths, blocks)
        self.z_dim, self.num_classes, self.tanh = z_dim, num_classes, tanh
        self.embedding = class_vectors(num_classes, class_dim)
        self.basis = Basis(z_dim + (class_dim if self.embedding else num_classes), widths[0], base)
        layers: list[nn.Module] = []
        for index, width in enumerate(widths):
            if index:
                layers.append(Resample(widths[index - 1], width, up=True))
            layers += [
                Block(width, expansion, group_size, blocks * len(widths)) for _ in range(blocks)
            ]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Conv2d(widths[-1], channels, 1, bias=False)
        he_normal(self.head)
        self.to(memory_format=torch.channels_last)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Give float32 images ``(N, channels, image_size, image_size)``, with tanh in [-1, 1].

        Raises:
            ValueError: where ``z`` or ``labels`` do not fit the network.
        """
        if self.embedding is None:
            inputs = latent_with_labels(z, labels, self.z_dim, self.num_classes)
        else:
            check_latent(z, self.z_dim)
            check_labels(labels, self.num_classes, len(z))
            inputs = torch.cat([z, self.embedding(labels).to(z.dtype)], dim=1)
        images = cast(Tensor, self.head(self.layers(self.basis(inputs)))).float()
        return torch.tanh(images) if self.tanh else images


class Discriminator(FeatureDiscriminator):
    """R3GAN's discriminator: the generator's stages in reverse order, images to logits.

    The last maps are weighted by one learnt filter per channel over all positions and summed: these
    are the features, of which the logit is linear. With classes it is a projection discriminator;
    with ``class_dim`` the inner product of a linear map of the features and the class's vector.
    There is no spectral norm: the last convolution of each block starts at zero.

    Args:
        channels, image_size: of the images; the size is 4 to 7 times a power of two.
        widths: channels at each size, from the smallest.
        num_classes: 0 is unconditional.
        blocks: residual blocks at each size.
        expansion, group_size: see :class:`Block`.
        class_dim: length of the learnt vector of a class (the authors': the features' length), or 0
            for one that joins a logit without class.
    """

    def __init__(
        self,
        channels: int,
        image_size: int,
        widths: Sequence[int],
        num_classes: int = 0,
        blocks: int = 2,
        expansion: int = 2,
        group_size: int = 16,
        class_dim: int = 0,
    ) -> None:
        super().__init__(channels, image_size, num_classes)
        base = _check(image_size, widths, blocks)
        self.stem = nn.Conv2d(channels, widths[-1], 1, bias=False)
        he_normal(self.stem)
        layers: list[nn.Module] = []
        for index in reversed(range(len(widths))):
            layers += [
                Block(widths[index], expansion, group_size, blocks * len(widths))
                for _ in range(blocks)
            ]
            if index:
                layers.append(Resample(widths[index], widths[index - 1], up=False))
        self.layers = nn.Sequential(*layers)
        self.pool = nn.Conv2d(widths[0], widths[0], base, groups=widths[0], bias=False)
        he_normal(self.pool)
        self.head: ProjectionHead | ClassHead
        if num_classes and class_dim:
            self.head = ClassHead(widths[0], class_dim, num_classes)
        else:
            self.head = ProjectionHead(widths[0], widths[0], num_classes)
        he_normal(self.head.linear)
        self.finish()

    def features(self, images: Tensor) -> Tensor:
        """Give ``(N, widths[0])`` float32: each of the last maps under its learnt filter."""
        h = self.layers(self.stem(self.prepared(images)))
        return cast(Tensor, self.pool(h)).flatten(1).float()


def _check(image_size: int, widths: Sequence[int], blocks: int) -> int:
    """Give the smallest size, if there is a width for each size up to ``image_size``."""
    base, doublings = halvings(image_size)
    if len(widths) != doublings + 1 or blocks < 1:
        raise ValueError(
            f"{len(widths)} widths and {blocks} blocks for {image_size} pixels; give "
            f"{doublings + 1} widths (sizes {base} to {image_size}) and 1 block or more"
        )
    return base
