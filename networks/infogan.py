"""InfoGAN's generator and discriminator (Chen et al. 2016), the networks of Lucic et al. (2018).

Two convolutions and two dense layers each, the same for every loss and every data set there; the
layers and their initialisation are those of the authors' code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from networks.blocks import (
    FeatureDiscriminator,
    ProjectionHead,
    check_choice,
    latent_with_labels,
)


def initialise(network: nn.Module) -> None:
    """Draw weights from N(0, 0.02^2), zero biases; batch norm's gains start at 1."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class Generator(nn.Module):
    """Latents ``(N, z_dim)`` to images: dense, dense, two transposed convolutions of stride 2.

    All but the last are normalised and followed by a leaky ReLU of 0.2. The paper ends in a
    sigmoid, for pixels in [0, 1]; brought to [-1, 1] that is tanh of half the argument.

    Args:
        z_dim: length of a latent.
        channels, image_size: of the images; the size is a multiple of 4.
        width: channels before the last layer (the paper: 64); twice as many before that, 16 times
            in the first dense layer.
        num_classes: 0 is unconditional; else one-hot labels join z (Mirza & Osindero 2014).
    """

    def __init__(
        self, z_dim: int, channels: int, image_size: int, width: int = 64, num_classes: int = 0
    ) -> None:
        super().__init__()
        self.z_dim, self.num_classes, self.base = z_dim, num_classes, _quarter(image_size)
        maps = 2 * width * self.base**2
        # Batch norm subtracts the mean: a bias before it would change nothing.
        self.dense1 = nn.Linear(z_dim + num_classes, 16 * width, bias=False)
        self.norm1 = nn.BatchNorm1d(16 * width)
        self.dense2 = nn.Linear(16 * width, maps, bias=False)
        self.norm2 = nn.BatchNorm1d(maps)
        self.up1 = nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1, bias=False)
        self.norm3 = nn.BatchNorm2d(width)
        self.up2 = nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1)
        initialise(self)
        self.to(memory_format=torch.channels_last)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Give float32 images ``(N, channels, image_size, image_size)`` in [-1, 1].

        Raises:
            ValueError: where ``z`` or ``labels`` do not fit the network.
        """
        h = latent_with_labels(z, labels, self.z_dim, self.num_classes)
        h = F.leaky_relu(self.norm1(self.dense1(h)), 0.2)
        h = F.leaky_relu(self.norm2(self.dense2(h)), 0.2)
        # (N, H, W, C) read as (N, C, H, W) is channels_last without a copy.
        h = h.view(len(h), self.base, self.base, -1).permute(0, 3, 1, 2)
        h = F.leaky_relu(self.norm3(self.up1(h)), 0.2)
        return torch.tanh(self.up2(h).float() / 2)


class Discriminator(FeatureDiscriminator):
    """Images to logits: two 4 x 4 convolutions of stride 2, dense, and the logit.

    Args:
        channels, image_size: of the images; the size is a multiple of 4.
        width: channels after the first convolution (the paper: 64); twice as many after the
            second, 16 times in the dense layer.
        num_classes: 0 is unconditional; else a projection discriminator (Miyato & Koyama 2018) on
            the dense layer.
        norm: ``batch`` (after the second convolution and the dense layer) or ``none``.
        spectral_norm: whether all weights are spectrally normalised.
    """

    def __init__(
        self,
        channels: int,
        image_size: int,
        width: int = 64,
        num_classes: int = 0,
        norm: str = "batch",
        spectral_norm: bool = False,
    ) -> None:
        super().__init__(channels, image_size, num_classes)
        check_choice("norm", norm, ("batch", "none"))
        batch = norm == "batch"
        maps = 2 * width * _quarter(image_size) ** 2
        self.conv1 = nn.Conv2d(channels, width, 4, stride=2, padding=1)
        self.conv2 = nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=not batch)
        self.norm2: nn.Module = nn.BatchNorm2d(2 * width) if batch else nn.Identity()
        self.dense = nn.Linear(maps, 16 * width, bias=not batch)
        self.norm3: nn.Module = nn.BatchNorm1d(16 * width) if batch else nn.Identity()
        self.head = ProjectionHead(16 * width, 16 * width, num_classes)
        initialise(self)
        self.finish(spectral_norm)

    def features(self, images: Tensor) -> Tensor:
        """Give ``(N, 16 * width)`` float32: the dense layer; no label enters."""
        h = F.leaky_relu(self.conv1(self.prepared(images)), 0.2)
        h = F.leaky_relu(self.norm2(self.conv2(h)), 0.2)
        return F.leaky_relu(self.norm3(self.dense(h.flatten(1))), 0.2).float()


def _quarter(image_size: int) -> int:
    """Give the smallest map's size, which doubles twice.

    Raises:
        ValueError: where ``image_size`` is no multiple of 4, or no more than 4.
    """
    if image_size % 4 or image_size < 8:
        raise ValueError(
            f"image_size {image_size} is not a multiple of 4 from 8 on; resize the images to 28, "
            "32 or the like"
        )
    return image_size // 4
