"""A perceptron in place of the U-Net, for points and other images of few values."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from networks.unet import sinusoidal_embedding, zero_init


class MLPBlock(nn.Module):
    """norm, SiLU, linear; times and plus the time embedding; SiLU, linear; plus the input."""

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.norm1, self.linear1 = nn.LayerNorm(width), nn.Linear(width, width)
        self.embed = nn.Linear(embedding, 2 * width)
        self.norm2, self.linear2 = nn.LayerNorm(width), zero_init(nn.Linear(width, width))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.linear1(F.silu(self.norm1(x)))
        scale, shift = self.embed(embedding).to(h.dtype).chunk(2, dim=1)
        return cast(Tensor, x + self.linear2(F.silu(self.norm2(h) * (1 + scale) + shift)))


class MLP(nn.Module):
    """Noisy images ``(N, C, H, W)`` and times ``(N,)`` to images, all values at once.

    Args:
        in_channels, out_channels, image_size: of the images.
        width: of the hidden layers.
        blocks: residual blocks.
        frequencies: waves of each value that are put beside it, of lengths 4, 2, 1, ... (Tancik et
            al. 2020); without them a network this small is smooth where the data are not.
        num_classes: 0, or the number of labels that may be given; label ``num_classes`` is none.

    Raises:
        ValueError: for a width too small to hold times, or fewer than one block.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        image_size: int,
        width: int,
        blocks: int,
        frequencies: int = 0,
        num_classes: int = 0,
    ) -> None:
        super().__init__()
        if width < 4 or blocks < 1 or frequencies < 0:
            raise ValueError(f"{width=}, {blocks=}, {frequencies=}; expected 4, 1 and 0 or more")
        self.width, self.frequencies, self.num_classes = width, frequencies, num_classes
        self.in_channels, self.out_channels, self.image_size = in_channels, out_channels, image_size
        self.embed = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        if num_classes:
            self.embed_label = nn.Embedding(num_classes + 1, width)
        self.stem = nn.Linear(in_channels * image_size**2 * (1 + 2 * frequencies), width)
        self.blocks = nn.ModuleList(MLPBlock(width, width) for _ in range(blocks))
        self.norm_out = nn.LayerNorm(width)
        self.head = zero_init(nn.Linear(width, out_channels * image_size**2))

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """Give ``(N, out_channels, H, W)`` for noisy images ``x`` at times ``t`` ``(N,)``.

        Labels ``(N,)`` are for a network of classes; None stands for no label of any image.
        """
        embedding = self.embed(sinusoidal_embedding(t, self.width))
        if self.num_classes:
            if labels is None:
                labels = torch.full((len(x),), self.num_classes, device=x.device)
            embedding = embedding + self.embed_label(labels)
        embedding = F.silu(embedding)
        h = self.stem(self._with_waves(x.flatten(1)))
        for block in self.blocks:
            h = block(h, embedding)
        out: Tensor = self.head(F.silu(self.norm_out(h)))
        return out.view(len(x), self.out_channels, *x.shape[2:])

    def _with_waves(self, x: Tensor) -> Tensor:
        angles = [x * (torch.pi / 2 * 2**i) for i in range(self.frequencies)]
        return torch.cat([x, *(wave(a) for a in angles for wave in (torch.sin, torch.cos))], dim=1)
