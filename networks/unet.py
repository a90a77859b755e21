"""The U-Net of Ho et al. (2020), configurable, fast in channels_last."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from networks.blocks import check_labels
from networks.unet_settings import check_attention, check_positive, check_settings, level_sizes


def sinusoidal_embedding(t: Tensor, dim: int) -> Tensor:
    """Give the Transformer's embedding of ``t`` ``(N,)``: ``(N, dim)`` float32, sines first."""
    half = dim // 2
    decay = math.log(10_000) / (half - 1)
    frequencies = torch.exp(torch.arange(half, device=t.device, dtype=torch.float32) * -decay)
    angles = t.float()[:, None] * frequencies[None]
    return F.pad(torch.cat([angles.sin(), angles.cos()], dim=1), (0, dim % 2))


def zero_init(layer: nn.Module) -> nn.Module:
    """Set the parameters of ``layer`` to zero, so that its block starts as the identity."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def norm(channels: int, group_size: int | None = None) -> nn.GroupNorm:
    """Give GroupNorm, eps 1e-6, over groups of ``group_size`` channels.

    None is 32 groups as published, fewer where they do not divide or would hold one channel: that
    takes out what is constant in a channel, and so the time. On CPUs torch's kernel is 50 times
    slower on groups of 2 to 4 channels than on groups of 16.
    """
    groups = max(1, channels // group_size) if group_size else max(1, min(32, channels // 2))
    while channels % groups:
        groups -= 1
    return nn.GroupNorm(groups, channels, eps=1e-6)


class ResidualBlock(nn.Module):
    """norm, SiLU, conv; plus the time embedding; norm, SiLU, dropout, conv; plus the input.

    With ``scale_shift`` the embedding modulates the second norm (Nichol & Dhariwal 2021) instead of
    being added before it.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        embedding: int,
        dropout: float = 0.0,
        scale_shift: bool = False,
        group_size: int | None = None,
    ) -> None:
        super().__init__()
        self.norm1 = norm(c_in, group_size)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.embed = nn.Linear(embedding, 2 * c_out if scale_shift else c_out)
        self.norm2 = norm(c_out, group_size)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.conv2 = zero_init(nn.Conv2d(c_out, c_out, 3, padding=1))
        self.skip = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()
        self.scale_shift = scale_shift

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        shift = self.embed(embedding)[:, :, None, None].to(h.dtype)
        if self.scale_shift:
            scale, shift = shift.chunk(2, dim=1)
            h = self.norm2(h) * (1 + scale) + shift
        else:
            h = self.norm2(h + shift)
        return cast(Tensor, self.skip(x) + self.conv2(self.dropout(F.silu(h))))


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Give softmax(q k^T / sqrt(D)) v for ``(N, heads, T, D)`` each.

    On a GPU by torch's fused kernel. On a CPU the plain product: at the few hundred positions of a
    U-Net the fused kernel's backward pass takes two to six times as long.
    """
    if q.device.type != "cpu" or q.shape[-2] > 1024:
        return F.scaled_dot_product_attention(q, k, v)
    return torch.softmax((q * q.shape[-1] ** -0.5) @ k.mT, dim=-1) @ v


class AttentionBlock(nn.Module):
    """Self-attention over positions with ``heads`` heads, residual, scale (C / heads)^-0.5."""

    def __init__(self, channels: int, heads: int, group_size: int | None = None) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"{channels} channels do not divide into {heads} attention heads")
        self.norm, self.heads = norm(channels, group_size), heads
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = zero_init(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        n, c, height, width = x.shape
        qkv = self.qkv(self.norm(x)).permute(0, 2, 3, 1)
        qkv = qkv.reshape(n, height * width, 3, self.heads, c // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        h = attend(q, k, v)
        h = h.transpose(1, 2).reshape(n, height, width, c).permute(0, 3, 1, 2)
        return cast(Tensor, x + self.out(h))


class Level(nn.Module):
    """A residual block and, where asked for, attention after it."""

    def __init__(self, block: ResidualBlock, attention: AttentionBlock | None) -> None:
        super().__init__()
        self.block = block
        self.attention = attention if attention is not None else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return cast(Tensor, self.attention(self.block(x, embedding)))


class Downsample(nn.Module):
    """Halve height and width, odd sizes upwards, by a stride-2 convolution.

    An even size is padded right and below alone, as TensorFlow's "same" does in the published code.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        return cast(Tensor, self.conv(F.pad(x, (width % 2, 1, height % 2, 1))))


class Upsample(nn.Module):
    """Double height and width (nearest), or match a skip of odd size, then convolve."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        return cast(Tensor, self.conv(F.interpolate(x, size=size, mode="nearest")))


class UNet(nn.Module):
    """The U-Net of Ho et al. (2020): images ``(N, C, H, W)`` and times ``(N,)`` to images.

    With classes, an embedding of the label is added to that of the time (Dhariwal & Nichol 2021).

    At the CIFAR-10 settings of the paper (128 channels, multipliers 1, 2, 2, 2, two blocks a
    level, attention at 16, dropout 0.1) it has 35,746,307 parameters.

    Args:
        in_channels, out_channels: of the images; twice these where the network is also given an
            earlier estimate, and where it also says something of the variance.
        image_size: height and width; decides where ``attention_resolutions`` are met.
        channels: width of the first level.
        multipliers: width of each level over ``channels``; between levels the size halves.
        blocks: residual blocks per level going down; one more going up.
        attention_resolutions: heights (after ``patch_size``) at which attention follows a block;
            the middle always has one.
        heads: attention heads.
        dropout: before the second convolution of a block.
        patch_size: 1, or p to fold p x p pixels into channels first (space-to-depth), which costs
            p^2 times less at the first level.
        scale_shift: see :class:`ResidualBlock`.
        group_size: see :func:`norm`.
        num_classes: 0 is unconditional; else labels are 0 to num_classes - 1, and num_classes
            stands for an image without one.
        channels_last: hold maps as (N, H, W, C). On a CPU without AVX-512, float32 gradients of
            wide convolutions take a quarter longer so.

    Raises:
        ValueError: for settings that make no network, or attention at a height no level has.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        image_size: int,
        channels: int,
        multipliers: Sequence[int],
        blocks: int,
        attention_resolutions: Sequence[int],
        heads: int = 1,
        dropout: float = 0.0,
        patch_size: int = 1,
        scale_shift: bool = False,
        group_size: int | None = None,
        num_classes: int = 0,
        channels_last: bool = True,
    ) -> None:
        super().__init__()
        check_settings(image_size, patch_size, channels, multipliers, blocks)
        check_attention(attention_resolutions, level_sizes(image_size, patch_size, multipliers))
        check_positive(heads=heads, group_size=1 if group_size is None else group_size)
        self.patch_size, self.channels, self.num_classes = patch_size, channels, num_classes
        self.in_channels, self.out_channels = in_channels, out_channels
        embedding = 4 * channels
        self.embed = nn.Sequential(
            nn.Linear(channels, embedding), nn.SiLU(), nn.Linear(embedding, embedding)
        )
        self.stem = nn.Conv2d(in_channels * patch_size**2, channels, 3, padding=1)

        def level(c_in: int, c_out: int, attend: bool) -> Level:
            block = ResidualBlock(c_in, c_out, embedding, dropout, scale_shift, group_size)
            return Level(block, AttentionBlock(c_out, heads, group_size) if attend else None)

        sizes = level_sizes(image_size, patch_size, multipliers)
        attends = [size in attention_resolutions for size in sizes]
        width, skips = channels, [channels]
        self.down = nn.ModuleList()
        for depth, multiplier in enumerate(multipliers):
            for _ in range(blocks):
                self.down.append(level(width, channels * multiplier, attends[depth]))
                width = channels * multiplier
                skips.append(width)
            if depth < len(multipliers) - 1:
                self.down.append(Downsample(width))
                skips.append(width)
        self.middle = nn.ModuleList([level(width, width, True), level(width, width, False)])
        self.up = nn.ModuleList()
        for depth, multiplier in reversed(list(enumerate(multipliers))):
            for _ in range(blocks + 1):
                self.up.append(level(width + skips.pop(), channels * multiplier, attends[depth]))
                width = channels * multiplier
            if depth > 0:
                self.up.append(Upsample(width))
        self.feature_blocks = (blocks + 1) * len(multipliers)
        self.norm_out = norm(width, group_size)
        self.head = zero_init(nn.Conv2d(width, out_channels * patch_size**2, 3, padding=1))
        if num_classes:
            self.embed_labels = nn.Embedding(num_classes + 1, embedding)
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.to(memory_format=self.memory_format)

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """Give ``(N, out_channels, H, W)`` for noisy images ``x`` at times ``t`` ``(N,)``."""
        h = self._upwards(*self._to_middle(x, t, labels), len(self.up))
        return F.pixel_shuffle(self.head(F.silu(self.norm_out(h))), self.patch_size)

    def features(
        self, x: Tensor, t: Tensor, labels: Tensor | None = None, block: int = 0
    ) -> Tensor:
        """Give the mean over positions after ``block`` blocks of the way up, float32 ``(N, D)``.

        After 0 of them it is the middle; there are ``feature_blocks``.
        """
        levels = [i + 1 for i, module in enumerate(self.up) if isinstance(module, Level)]
        h = self._upwards(*self._to_middle(x, t, labels), [0, *levels][block])
        return h.mean(dim=(2, 3), dtype=torch.float32)

    def _upwards(self, h: Tensor, skips: list[Tensor], embedding: Tensor, modules: int) -> Tensor:
        """Give the output of the first ``modules`` of the way up."""
        for module in self.up[:modules]:
            if isinstance(module, Upsample):
                h = module(h, skips[-1].shape[-2:])
            else:
                h = module(torch.cat([h, skips.pop()], dim=1), embedding)
        return h

    def _to_middle(
        self, x: Tensor, t: Tensor, labels: Tensor | None
    ) -> tuple[Tensor, list[Tensor], Tensor]:
        """Give the middle blocks' output, what the way up takes besides, and the embedding."""
        check_labels(labels, self.num_classes, len(x))
        embedding = self.embed(sinusoidal_embedding(t, self.channels))
        if labels is not None:
            embedding = embedding + self.embed_labels(labels)
        embedding = F.silu(embedding)
        x = x.contiguous(memory_format=self.memory_format)
        h = self.stem(F.pixel_unshuffle(x, self.patch_size))
        skips = [h]
        for module in self.down:
            h = module(h, embedding) if isinstance(module, Level) else module(h)
            skips.append(h)
        for module in self.middle:
            h = module(h, embedding)
        return h, skips, embedding
