"""The generator and discriminator of Goodfellow et al. (2014): perceptrons, maxout in D."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from networks.blocks import check_images, check_labels, latent_with_labels, normalise_spectrally


class Maxout(nn.Module):
    """The largest of ``pieces`` linear maps for each of ``c_out`` units (Goodfellow 2013)."""

    def __init__(self, c_in: int, c_out: int, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces
        self.linear = nn.Linear(c_in, c_out * pieces)

    def forward(self, x: Tensor) -> Tensor:
        pieces = cast(Tensor, self.linear(x)).reshape(len(x), -1, self.pieces)
        return pieces.amax(dim=2)


class Generator(nn.Module):
    """The generator of 2014: latents ``(N, z_dim)`` through ReLU layers to images.

    The paper ends in a sigmoid, for pixels in [0, 1]; brought to [-1, 1] that is tanh of half the
    argument.

    Args:
        z_dim: length of a latent.
        channels, image_size: of the images.
        width: units of each hidden layer (the authors' code for MNIST: 1200).
        num_classes: 0 is unconditional; else one-hot labels join z (Mirza & Osindero 2014).
        layers: hidden layers.
    """

    def __init__(
        self,
        z_dim: int,
        channels: int,
        image_size: int,
        width: int,
        num_classes: int = 0,
        layers: int = 2,
    ) -> None:
        super().__init__()
        _check_layers(layers)
        self.z_dim, self.num_classes = z_dim, num_classes
        self.shape = (channels, image_size, image_size)
        widths = [z_dim + num_classes] + [width] * layers
        self.hidden = nn.ModuleList(nn.Linear(c_in, c_out) for c_in, c_out in pairwise(widths))
        self.head = nn.Linear(width, channels * image_size**2)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Give float32 images ``(N, channels, image_size, image_size)`` in [-1, 1].

        Raises:
            ValueError: where ``z`` or ``labels`` do not fit the network.
        """
        h = latent_with_labels(z, labels, self.z_dim, self.num_classes)
        for layer in self.hidden:
            h = F.relu(layer(h))
        return torch.tanh(self.head(h).float() / 2).reshape(-1, *self.shape)


class Discriminator(nn.Module):
    """The discriminator of 2014: images through maxout layers, with dropout, to logits.

    Args:
        channels, image_size: of the images.
        width: units of each hidden layer (the authors' code for MNIST: 240).
        num_classes: 0 is unconditional; else one-hot labels join the pixels.
        spectral_norm: whether all weights are spectrally normalised; not in the paper.
        layers: hidden layers.
        pieces: linear maps of a unit.
        dropout: probability of dropping a hidden unit in training.
        input_dropout: probability of dropping a pixel in training.
    """

    def __init__(
        self,
        channels: int,
        image_size: int,
        width: int,
        num_classes: int = 0,
        spectral_norm: bool = False,
        layers: int = 2,
        pieces: int = 5,
        dropout: float = 0.5,
        input_dropout: float = 0.2,
    ) -> None:
        super().__init__()
        _check_layers(layers)
        self.channels, self.image_size, self.num_classes = channels, image_size, num_classes
        widths = [channels * image_size**2 + num_classes] + [width] * layers
        self.hidden = nn.ModuleList(Maxout(c_in, c_out, pieces) for c_in, c_out in pairwise(widths))
        self.input_dropout, self.dropout = nn.Dropout(input_dropout), nn.Dropout(dropout)
        self.head = nn.Linear(width, 1)
        if spectral_norm:
            normalise_spectrally(self)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Give float32 logits ``(N,)`` of ``images`` ``(N, C, H, W)`` in [-1, 1].

        Raises:
            ValueError: where ``images`` or ``labels`` do not fit the network.
        """
        check_labels(labels, self.num_classes, len(images))
        h = self.dropout(self._units(images, labels))
        with torch.autocast(h.device.type, enabled=False):
            return cast(Tensor, self.head(h.float())).squeeze(1)

    def features(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Give ``(N, width)`` float32: the last hidden layer.

        Without labels a conditional network sees none: zeros stand in their place.
        """
        return self._units(images, labels).float()

    def _units(self, images: Tensor, labels: Tensor | None) -> Tensor:
        check_images(images, self.channels, self.image_size)
        h = self.input_dropout(images.flatten(1))
        if self.num_classes:
            one_hot = h.new_zeros(len(h), self.num_classes)
            if labels is not None:
                one_hot = F.one_hot(labels, self.num_classes).to(h.dtype)
            h = torch.cat([h, one_hot], dim=1)
        for index, layer in enumerate(self.hidden):
            h = layer(self.dropout(h) if index else h)
        return cast(Tensor, h)


def _check_layers(layers: int) -> None:
    if layers < 1:
        raise ValueError(f"layers is {layers}; give 1 hidden layer or more")
