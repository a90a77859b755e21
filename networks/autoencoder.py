"""Autoencoders with a code: the perceptron of 2010, with tied weights or not, and a convolution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from networks.blocks import check_choice, check_images, halvings
from networks.unet import norm

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": F.relu,
    "silu": F.silu,
}


class Autoencoder(nn.Module):
    """An encoder to a code and a decoder.

    Attributes:
        takes_level: whether ``forward`` can be told the level of noise; a code cannot.
    """

    takes_level = False

    def encode(self, images: Tensor) -> Tensor:
        """Give the code ``(N, D)`` of ``images`` ``(N, C, H, W)`` in [-1, 1]."""
        raise NotImplementedError

    def decode(self, code: Tensor) -> Tensor:
        """Give the output ``(N, out_channels, H, W)`` of a code ``(N, D)``, of any range."""
        raise NotImplementedError

    def forward(self, images: Tensor, level: Tensor | None = None) -> Tensor:
        """Give the output of the images' code; ``level`` does not enter."""
        return self.decode(self.encode(images))


class MLPAutoencoder(Autoencoder):
    """Affine layers, each but the last followed by the activation; the code is one of them.

    Vincent et al. (2010): sigmoid units, and with ``tied`` the decoder's matrices are the
    transposed encoder's. The input is brought to [0, 1], so that black, to which their masking
    sets a pixel, adds nothing to a unit.

    Args:
        channels, image_size: of the images.
        widths: units of each layer of the encoder, the last of which is the code.
        activation: a name of ``ACTIVATIONS``.
        tied: share the encoder's matrices.
        out_channels: of the output; ``channels`` where None. Tied weights have no others.
    """

    def __init__(
        self,
        channels: int,
        image_size: int,
        widths: Sequence[int],
        activation: str = "sigmoid",
        tied: bool = False,
        out_channels: int | None = None,
    ) -> None:
        super().__init__()
        check_choice("activation", activation, tuple(ACTIVATIONS))
        if not widths or min(widths) < 1:
            raise ValueError(f"widths={list(widths)}; give at least one layer of 1 unit or more")
        out_channels = channels if out_channels is None else out_channels
        if tied and out_channels != channels:
            raise ValueError(
                f"tied weights give back {channels} channels, not {out_channels}; set tied=false"
            )
        self.channels, self.image_size = channels, image_size
        self.shape = (out_channels, image_size, image_size)
        self.activation, self.tied = ACTIVATIONS[activation], tied
        sizes = [channels * image_size**2, *widths]
        self.encoder = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        backwards = [*reversed(widths), out_channels * image_size**2]
        if tied:
            self.biases = nn.ParameterList(nn.Parameter(torch.zeros(b)) for b in backwards[1:])
        else:
            self.decoder = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(backwards))

    def encode(self, images: Tensor) -> Tensor:
        check_images(images, self.channels, self.image_size)
        h = (images.flatten(1) + 1) / 2
        for layer in self.encoder:
            h = self.activation(layer(h))
        return h

    def decode(self, code: Tensor) -> Tensor:
        last = len(self.encoder) - 1
        for index in range(last + 1):
            code = self._backwards(index, code)
            code = self.activation(code) if index < last else code
        return code.reshape(-1, *self.shape)

    def _backwards(self, index: int, h: Tensor) -> Tensor:
        if self.tied:
            layer = cast(nn.Linear, self.encoder[len(self.encoder) - 1 - index])
            return F.linear(h, layer.weight.T, self.biases[index])
        return cast(Tensor, self.decoder[index](h))


class ConvAutoencoder(Autoencoder):
    """Convolutions that halve the image down to 4 to 7 pixels, a linear code, and back.

    Args:
        channels, image_size: of the images; the size is 4 to 7 doubled once or more.
        width: maps at the image's own size; each halving doubles them, up to four times.
        code: length of the code, on which no activation acts.
        out_channels: of the output; ``channels`` where None.
    """

    def __init__(
        self,
        channels: int,
        image_size: int,
        width: int,
        code: int,
        out_channels: int | None = None,
    ) -> None:
        super().__init__()
        if min(width, code) < 1:
            raise ValueError(f"{width=} and {code=} must be 1 or more")
        base, doublings = halvings(image_size)
        maps = [width * min(2**depth, 4) for depth in range(doublings + 1)]
        self.channels, self.image_size = channels, image_size
        self.smallest = (maps[-1], base, base)
        down: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1)]
        for a, b in pairwise(maps):
            down += [norm(a, 16), nn.SiLU(), nn.Conv2d(a, b, 4, stride=2, padding=1)]
        self.down = nn.Sequential(*down, norm(maps[-1], 16), nn.SiLU())
        self.to_code = nn.Linear(maps[-1] * base**2, code)
        self.from_code = nn.Linear(code, maps[-1] * base**2)
        up: list[nn.Module] = []
        for a, b in pairwise(reversed(maps)):
            up += [
                norm(a, 16),
                nn.SiLU(),
                nn.Upsample(scale_factor=2),
                nn.Conv2d(a, b, 3, padding=1),
            ]
            up += [norm(b, 16), nn.SiLU(), nn.Conv2d(b, b, 3, padding=1)]
        self.up = nn.Sequential(*up, norm(width, 16), nn.SiLU())
        self.head = nn.Conv2d(
            width, channels if out_channels is None else out_channels, 3, padding=1
        )
        self.to(memory_format=torch.channels_last)

    def encode(self, images: Tensor) -> Tensor:
        check_images(images, self.channels, self.image_size)
        maps = self.down(images.contiguous(memory_format=torch.channels_last))
        return cast(Tensor, self.to_code(maps.flatten(1)))

    def decode(self, code: Tensor) -> Tensor:
        maps = self.from_code(code).view(-1, *self.smallest)
        return cast(Tensor, self.head(self.up(maps.contiguous(memory_format=torch.channels_last))))
