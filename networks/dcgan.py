"""DCGAN (Radford et al. 2016): a generator and a discriminator of strided convolutions."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from networks.blocks import (
    BatchNorm,
    Identity,
    ImageDiscriminator,
    ProjectionHead,
    check_choice,
    check_labels,
    halvings,
    latent_with_labels,
)


class PixelShuffleConv(nn.Module):
    """A 3 x 3 convolution to four times the channels, which become 2 x 2 pixels."""

    def __init__(self, c_in: int, c_out: int, bias: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, 4 * c_out, 3, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.conv(x), 2)


class ResidualConv(nn.Module):
    """The input plus a 3 x 3 convolution of it after normalisation and ReLU (He et al. 2016)."""

    def __init__(self, channels: int, norm: str, num_classes: int) -> None:
        super().__init__()
        self.norm = BatchNorm(channels, num_classes) if norm == "batch" else Identity()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=norm == "none")

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:
        return cast(Tensor, x + self.conv(F.relu(self.norm(x, labels))))


def upsampling(kind: str, c_in: int, c_out: int, bias: bool) -> nn.Module:
    """Give a layer that doubles height and width and maps ``c_in`` to ``c_out`` channels."""
    if kind == "transposed":
        return nn.ConvTranspose2d(c_in, c_out, 4, stride=2, padding=1, bias=bias)
    if kind == "pixel_shuffle":
        return PixelShuffleConv(c_in, c_out, bias)
    conv = nn.Conv2d(c_in, c_out, 3, padding=1, bias=bias)
    return nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), conv)


def initialise(network: nn.Module) -> None:
    """Draw weights from N(0, 0.02^2), gains from N(1, 0.02^2), zero biases (section 4 there)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d) and module.affine:
            nn.init.normal_(module.weight, 1.0, 0.02)


class Generator(nn.Module):
    """DCGAN's generator: latents ``(N, z_dim)`` to images.

    A linear layer gives the smallest map; every further layer doubles it and halves its channels,
    down to ``width`` and then the image. Normalisation and ReLU come before each doubling.

    Args:
        z_dim: length of a latent.
        channels, image_size: of the images; the size is 4 to 7 times a power of two.
        width: channels of the largest hidden map (the paper's network for 64 pixels: 128).
        num_classes: 0 is unconditional.
        norm: ``batch`` or ``none``.
        conditioning: how a class enters: ``concat`` (one-hot beside z, Mirza & Osindero 2014) or
            ``batch_norm`` (conditional batch norm).
        upsample: ``transposed`` (4 x 4, stride 2, as published), ``nearest`` or ``pixel_shuffle``,
            each with a 3 x 3 convolution. In bfloat16 on a CPU a training step takes 5 to 20 % less
            time with the first than with the others.
        blocks: residual 3 x 3 convolutions on the smallest map; none in the paper. There they cost
            little and let parts of a garment agree before the map grows.
    """

    def __init__(
        self,
        z_dim: int,
        channels: int,
        image_size: int,
        width: int,
        num_classes: int = 0,
        norm: str = "batch",
        conditioning: str = "concat",
        upsample: str = "transposed",
        blocks: int = 0,
    ) -> None:
        super().__init__()
        check_choice("norm", norm, ("batch", "none"))
        check_choice("conditioning", conditioning, ("concat", "batch_norm"))
        check_choice("upsample", upsample, ("transposed", "nearest", "pixel_shuffle"))
        if num_classes and conditioning == "batch_norm" and norm == "none":
            raise ValueError("conditioning is batch_norm but norm is none; set norm to batch")
        if blocks < 0:
            raise ValueError(f"blocks is {blocks}; give 0 residual blocks or more")
        self.z_dim, self.num_classes = z_dim, num_classes
        self.concat = conditioning == "concat"
        self.base, doublings = halvings(image_size)
        widths = [width * 2**i for i in reversed(range(doublings))]
        inputs = z_dim + (num_classes if self.concat else 0)
        self.project = nn.Linear(inputs, self.base**2 * widths[0], bias=norm == "none")
        classes = 0 if self.concat else num_classes
        self.blocks = nn.ModuleList(ResidualConv(widths[0], norm, classes) for _ in range(blocks))
        self.norms = nn.ModuleList(
            BatchNorm(c, classes) if norm == "batch" else Identity() for c in widths
        )
        self.ups = nn.ModuleList(
            upsampling(upsample, c_in, c_out, bias=norm == "none" or last)
            for c_in, c_out, last in zip(
                widths, [*widths[1:], channels], [False] * (doublings - 1) + [True], strict=True
            )
        )
        initialise(self)
        self.to(memory_format=torch.channels_last)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Give float32 images ``(N, channels, image_size, image_size)`` in [-1, 1].

        Raises:
            ValueError: where ``z`` or ``labels`` do not fit the network.
        """
        z_and_labels = latent_with_labels(z, labels, self.z_dim, self.num_classes)
        inputs, labels = (z_and_labels, None) if self.concat else (z, labels)
        # (N, H, W, C) read as (N, C, H, W) is channels_last without a copy.
        h = self.project(inputs).unflatten(1, (self.base, self.base, -1)).permute(0, 3, 1, 2)
        for block in self.blocks:
            h = block(h, labels)
        for norm, up in zip(self.norms, self.ups, strict=True):
            h = up(F.relu(norm(h, labels)))
        return torch.tanh(h.float())


class Discriminator(ImageDiscriminator):
    """DCGAN's discriminator: images to logits; each 4 x 4 convolution of stride 2 halves them.

    Args:
        channels, image_size: of the images.
        width: channels after the first convolution; each further one doubles them.
        num_classes: 0 is unconditional.
        norm: ``batch`` (after every convolution but the first) or ``none``.
        spectral_norm: whether all weights are spectrally normalised.
        conditioning: ``projection`` (Miyato & Koyama 2018, with phi the mean of the last maps) or
            ``concat`` (one-hot maps beside the last, then a 1 x 1 convolution, Reed et al. 2016).
        dropout: probability of dropping a channel of each hidden map, 0 as published.
    """

    def __init__(
        self,
        channels: int,
        image_size: int,
        width: int,
        num_classes: int = 0,
        norm: str = "batch",
        spectral_norm: bool = False,
        conditioning: str = "projection",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(channels, image_size, num_classes)
        check_choice("norm", norm, ("batch", "none"))
        check_choice("conditioning", conditioning, ("projection", "concat"))
        base, doublings = halvings(image_size)
        widths = [channels, *(width * 2**i for i in range(doublings))]
        batch = [False] + [norm == "batch"] * (doublings - 1)
        self.convs = nn.ModuleList(
            nn.Conv2d(c_in, c_out, 4, stride=2, padding=1, bias=not b)
            for c_in, c_out, b in zip(widths[:-1], widths[1:], batch, strict=True)
        )
        self.norms = nn.ModuleList(
            BatchNorm(c) if b else Identity() for c, b in zip(widths[1:], batch, strict=True)
        )
        self.dropout = nn.Dropout2d(dropout) if dropout else nn.Identity()
        last = widths[-1]
        self.mix: nn.Conv2d | None = None
        if num_classes and conditioning == "concat":
            self.mix = nn.Conv2d(last + num_classes, last, 1)
        projected = 0 if self.mix is not None else num_classes
        self.head = ProjectionHead(base**2 * last, last, projected)
        initialise(self)
        self.finish(spectral_norm)

    def _maps(self, images: Tensor) -> Tensor:
        h = self.prepared(images)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            h = self.dropout(F.leaky_relu(norm(conv(h)), 0.2))
        return h

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Give float32 logits ``(N,)`` of ``images`` ``(N, C, H, W)`` in [-1, 1].

        Raises:
            ValueError: where ``images`` or ``labels`` do not fit the network.
        """
        check_labels(labels, self.num_classes, len(images))
        h = self._maps(images)
        if self.mix is None or labels is None:
            return self.head(h.flatten(1), _mean(h), labels)  # type: ignore[no-any-return]
        one_hot = F.one_hot(labels, self.num_classes).to(h.dtype)[:, :, None, None]
        h = torch.cat([h, one_hot.expand(-1, -1, *h.shape[2:])], dim=1)
        h = F.leaky_relu(self.mix(h), 0.2)
        return self.head(h.flatten(1), _mean(h), None)  # type: ignore[no-any-return]

    def features(self, images: Tensor) -> Tensor:
        """Give ``(N, D)`` float32: the mean over positions of the last maps; no label enters."""
        return _mean(self._maps(images))


def _mean(maps: Tensor) -> Tensor:
    return maps.mean(dim=(2, 3), dtype=torch.float32)
