"""Parts that adversarial networks share: spectral norm, conditional batch norm, the head."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize


class SpectralNorm(nn.Module):
    """Divides a weight by its largest singular value (Miyato et al. 2018, algorithm 1).

    A parametrisation, put on layers by :func:`normalise_spectrally`. In training mode each call of
    the network makes one power iteration, in float32 also under autocast: D on real and on fake
    images apart makes two. A call costs three products of the weight with a vector and a division
    of the weight, whatever the batch, so a joint batch pays half; on a CPU, at 64 images, a tenth
    of a DCGAN's step. In eval mode ``u`` and ``v`` stay, and so the output. Gradients pass through
    the weight and the singular value, twice if asked for (R1). A checkpoint holds
    ``parametrizations.weight.original`` and ``parametrizations.weight.0.{u,v}``.
    """

    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        matrix = _matrix(weight.detach().float())
        self.register_buffer("u", F.normalize(matrix.new_empty(matrix.shape[0]).normal_(), dim=0))
        self.register_buffer("v", F.normalize(matrix.new_empty(matrix.shape[1]).normal_(), dim=0))
        for _ in range(15):
            self._iterate(matrix)

    @torch.no_grad()
    def _iterate(self, matrix: Tensor) -> None:
        self.u.copy_(F.normalize(matrix @ self.v, dim=0))
        self.v.copy_(F.normalize(self.u @ matrix, dim=0))

    def forward(self, weight: Tensor) -> Tensor:
        """Give ``weight / (u^T W v)``, of the same shape."""
        with torch.autocast(weight.device.type, enabled=False):
            matrix = _matrix(weight)
            if self.training:
                self._iterate(matrix)
            # The graph keeps copies: a second forward pass changes u and v before the backward.
            return weight / torch.dot(self.u.clone(), matrix @ self.v.clone())


def _matrix(weight: Tensor) -> Tensor:
    """Flatten all but the outputs; of a channels_last convolution this is a view, not a copy."""
    return (weight.permute(0, 2, 3, 1) if weight.ndim == 4 else weight).flatten(1)


def normalise_spectrally(network: nn.Module) -> None:
    """Put :class:`SpectralNorm` on every convolution, linear layer and embedding of ``network``.

    Call it after initialisation: the first estimate of the singular values is made here.
    """
    for layer in list(network.modules()):
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding):
            parametrize.register_parametrization(layer, "weight", SpectralNorm(layer.weight))


class BatchNorm(nn.Module):
    """Batch normalisation of ``(N, C, H, W)``; with classes, gain and shift of each class's own.

    The conditional batch norm of Dumoulin et al. (2017): gains start at 1, shifts at 0.
    """

    def __init__(self, channels: int, num_classes: int = 0) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=not num_classes)
        if num_classes:
            self.gain = nn.Embedding(num_classes, channels)
            self.shift = nn.Embedding(num_classes, channels)
            nn.init.ones_(self.gain.weight)
            nn.init.zeros_(self.shift.weight)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        h = cast(Tensor, self.norm(x))
        if labels is None:
            return h
        gain, shift = self.gain(labels).to(h.dtype), self.shift(labels).to(h.dtype)
        return torch.addcmul(shift[:, :, None, None], h, gain[:, :, None, None])


class Identity(nn.Module):
    """Stands where a :class:`BatchNorm` could: gives ``x`` whatever the labels."""

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return x


class ProjectionHead(nn.Module):
    """Logits from features: ``psi(h)``, with classes ``psi(h) + <embedding of the class, phi>``.

    The projection discriminator of Miyato & Koyama (2018), equation 3, with a linear ``psi``.

    Args:
        features: length of ``h``.
        projected: length of ``phi``.
        num_classes: 0 for ``psi`` alone.
    """

    def __init__(self, features: int, projected: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 1)
        if num_classes:
            self.embedding = nn.Embedding(num_classes, projected)
            nn.init.normal_(self.embedding.weight, std=projected**-0.5)

    def forward(self, h: Tensor, phi: Tensor, labels: Tensor | None) -> Tensor:
        """Give float32 logits ``(N,)``, computed in float32 also under autocast."""
        with torch.autocast(h.device.type, enabled=False):
            logits = cast(Tensor, self.linear(h.float())).squeeze(1)
            if labels is None:
                return logits
            projection = cast(Tensor, self.embedding(labels)) * phi.float()
            return logits + projection.sum(dim=1)


class ImageDiscriminator(nn.Module):
    """What discriminators of images ``(N, channels, image_size, image_size)`` begin and end with.

    Attributes:
        num_classes: 0 is unconditional.
    """

    def __init__(self, channels: int, image_size: int, num_classes: int) -> None:
        super().__init__()
        self.channels, self.image_size, self.num_classes = channels, image_size, num_classes

    def finish(self, spectral_norm: bool = False) -> None:
        """Normalise all weights spectrally where asked; lay them out for convolutions."""
        if spectral_norm:
            normalise_spectrally(self)
        self.to(memory_format=torch.channels_last)

    def prepared(self, images: Tensor) -> Tensor:
        """Give ``images`` checked and laid out for convolutions."""
        check_images(images, self.channels, self.image_size)
        return images.contiguous(memory_format=torch.channels_last)


class FeatureDiscriminator(ImageDiscriminator):
    """A discriminator whose logits are a head on its ``features``.

    Attributes:
        head: logits ``(N,)`` from features, features and labels; see :class:`ProjectionHead`.
    """

    head: nn.Module

    def features(self, images: Tensor) -> Tensor:
        """Give float32 ``(N, D)`` of ``images``; no label enters."""
        raise NotImplementedError

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Give float32 logits ``(N,)`` of ``images`` ``(N, C, H, W)`` in [-1, 1].

        Raises:
            ValueError: where ``images`` or ``labels`` do not fit the network.
        """
        check_labels(labels, self.num_classes, len(images))
        phi = self.features(images)
        return cast(Tensor, self.head(phi, phi, labels))


def halvings(image_size: int) -> tuple[int, int]:
    """Give the smallest map's size, 4 to 7, and how often it doubles: 32 is 4 x 2^3, 28 is 7 x 2^2.

    Raises:
        ValueError: where ``image_size`` is no such product.
    """
    base, doublings = image_size, 0
    while base > 7 and base % 2 == 0:
        base, doublings = base // 2, doublings + 1
    if not 4 <= base <= 7 or doublings == 0:
        raise ValueError(
            f"image_size {image_size} is not 4, 5, 6 or 7 doubled once or more; "
            "resize the images to 28, 32, 64 or the like"
        )
    return base, doublings


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse a ``value`` of the setting ``name`` that is not among ``choices`` (ValueError)."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; give one of {', '.join(choices)}")


def check_classes(generator: nn.Module, discriminator: nn.Module) -> None:
    """Refuse a G and a D that are conditional on different numbers of classes (ValueError)."""
    ours, theirs = (int(getattr(n, "num_classes", 0)) for n in (generator, discriminator))
    if ours != theirs and hasattr(discriminator, "num_classes"):
        raise ValueError(
            f"the generator is conditional on num_classes={ours}, the discriminator on {theirs}; "
            "give both the same number, 0 for none"
        )


def check_data_classes(ours: int, theirs: int) -> None:
    """Refuse networks conditional on another number of classes than the data's (ValueError)."""
    if ours and ours != theirs:
        raise ValueError(
            f"the networks are conditional on num_classes={ours}, but the data has {theirs}; give "
            "method.generator.num_classes and method.discriminator.num_classes the number of the "
            "data, or 0"
        )


def check_labels(labels: Tensor | None, num_classes: int, n: int) -> None:
    """Refuse labels that a network of ``num_classes`` cannot use, or their absence.

    Raises:
        ValueError: no labels for a conditional network, labels for an unconditional one, or labels
            that are not n whole numbers.
    """
    if num_classes and labels is None:
        raise ValueError(
            f"this network is conditional on {num_classes} classes and got no labels; "
            "pass labels of shape (N,), or build it with num_classes=0"
        )
    if labels is None:
        return
    if not num_classes:
        raise ValueError(
            "this network is unconditional (num_classes=0) and got labels; "
            "pass none, or build it with num_classes"
        )
    if labels.shape != (n,) or labels.is_floating_point():
        raise ValueError(
            f"labels are {labels.dtype} of shape {tuple(labels.shape)}; expected int64 ({n},)"
        )


def check_latent(z: Tensor, z_dim: int) -> None:
    """Refuse ``z`` that is not ``(N, z_dim)`` (ValueError)."""
    if z.ndim != 2 or z.shape[1] != z_dim:
        raise ValueError(f"z has shape {tuple(z.shape)}; expected (N, {z_dim})")


def latent_with_labels(z: Tensor, labels: Tensor | None, z_dim: int, num_classes: int) -> Tensor:
    """Give ``z`` ``(N, z_dim)``, followed by one-hot labels where there are classes.

    Raises:
        ValueError: where ``z`` has another shape, or see :func:`check_labels`.
    """
    check_latent(z, z_dim)
    check_labels(labels, num_classes, len(z))
    if labels is None:
        return z
    return torch.cat([z, F.one_hot(labels, num_classes).to(z.dtype)], dim=1)


def check_images(images: Tensor, channels: int, image_size: int) -> None:
    """Refuse ``images`` that are not ``(N, channels, image_size, image_size)`` (ValueError)."""
    expected = (channels, image_size, image_size)
    if images.ndim != 4 or images.shape[1:] != expected:
        raise ValueError(f"images have shape {tuple(images.shape)}; expected (N, *{expected})")
