"""A perceptron whose layers are autoencoders, one on top of the other (Vincent et al. 2010)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from networks.autoencoder import ACTIVATIONS
from networks.blocks import check_choice, check_images


def _glorot(activation: str, inputs: int, outputs: int) -> float:
    return (4 if activation == "sigmoid" else 1) * math.sqrt(6 / (inputs + outputs))


INITIALISATIONS: dict[str, Callable[[str, int, int], float]] = {
    "vincent": lambda activation, inputs, outputs: 1 / math.sqrt(inputs),
    "glorot": _glorot,
    "he": lambda activation, inputs, outputs: math.sqrt(6 / inputs),
}
"""Bounds of uniform weights: of Vincent et al. (2010); of Glorot & Bengio (2010), for sigmoid units
four times as wide; of He et al. (2015)."""


class StackedAutoencoder(nn.Module):
    """Layers that each encode, and decode what they encoded, under a classifier.

    A layer takes and gives back *values*: images ``(N, C, H, W)`` in [-1, 1] at the bottom, codes
    ``(N, 1, 1, D)`` above, where 2 c - 1 stands for the code c. So a code in [0, 1] looks like an
    image, and black, to which masking sets an entry, is a code of 0.

    Args:
        channels, image_size: of the images.
        widths: units of each layer, from the bottom.
        activation: a name of ``networks.autoencoder.ACTIVATIONS``.
        tied: decode with the transposed matrix of the encoder.
        num_classes: outputs of the classifier on top.
        initialisation: of the weights; a name of ``INITIALISATIONS``; None is "he" for rectified
            units and "vincent" for others. Biases begin at 0.
    """

    def __init__(
        self,
        channels: int,
        image_size: int,
        widths: Sequence[int],
        activation: str,
        tied: bool,
        num_classes: int,
        initialisation: str | None = None,
    ) -> None:
        super().__init__()
        check_choice("activation", activation, tuple(ACTIVATIONS))
        if not widths or min(widths) < 1:
            raise ValueError(f"widths={list(widths)}; give at least one layer of 1 unit or more")
        if num_classes < 2:
            raise ValueError(f"{num_classes=}: fine-tuning needs labels of 2 classes or more")
        self.channels, self.image_size, self.tied = channels, image_size, tied
        self.activation_name, self.activation = activation, ACTIVATIONS[activation]
        self.shapes = [(channels, image_size, image_size), *((1, 1, width) for width in widths)]
        sizes = [math.prod(shape) for shape in self.shapes]
        self.encoders = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        if tied:
            self.biases = nn.ParameterList(nn.Parameter(torch.zeros(size)) for size in sizes[:-1])
        else:
            self.decoders = nn.ModuleList(nn.Linear(b, a) for a, b in pairwise(sizes))
        self.head = nn.Linear(sizes[-1], num_classes)
        rectified = activation in ("relu", "silu")
        chosen = initialisation or ("he" if rectified else "vincent")
        check_choice("initialisation", chosen, tuple(INITIALISATIONS))
        for linear in (module for module in self.modules() if isinstance(module, nn.Linear)):
            units = "none" if linear is self.head else activation
            bound = INITIALISATIONS[chosen](units, linear.in_features, linear.out_features)
            nn.init.uniform_(linear.weight, -bound, bound)
            nn.init.zeros_(linear.bias)

    @property
    def layers(self) -> int:
        """How many layers lie below the classifier."""
        return len(self.encoders)

    def encode(self, layer: int, values: Tensor) -> Tensor:
        """Give the code ``(N, D)`` that ``layer`` makes of values."""
        linear = cast(nn.Linear, self.encoders[layer])
        return self.activation(linear((values.flatten(1) + 1) / 2))

    def decode(self, layer: int, code: Tensor) -> Tensor:
        """Give, of any range, what ``layer`` makes of its code ``(N, D)``, shaped as its values."""
        if self.tied:
            weight = cast(nn.Linear, self.encoders[layer]).weight
            output = F.linear(code, weight.T, self.biases[layer])
        else:
            output = self.decoders[layer](code)
        return output.view(-1, *self.shapes[layer])

    def values(self, layer: int, images: Tensor) -> Tensor:
        """Give what ``layer`` takes: of images ``(N, C, H, W)``, what the layers below make."""
        check_images(images, self.channels, self.image_size)
        values = images
        for below in range(layer):
            values = 2 * self.encode(below, values).view(-1, *self.shapes[below + 1]) - 1
        return values

    def features(self, images: Tensor) -> Tensor:
        """Give the code ``(N, D)`` of the highest layer."""
        return self.encode(self.layers - 1, self.values(self.layers - 1, images))

    def forward(self, images: Tensor) -> Tensor:
        """Give logits ``(N, num_classes)`` of images ``(N, C, H, W)`` in [-1, 1]."""
        return cast(Tensor, self.head(self.features(images)))

    def filters(self) -> Tensor:
        """Give the weights of the lowest layer's units as images ``(D, C, H, W)``."""
        weight = cast(nn.Linear, self.encoders[0]).weight.detach()
        return weight.view(-1, *self.shapes[0])
