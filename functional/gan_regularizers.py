"""What keeps a discriminator smooth: clipped weights and penalties on its gradient.

Penalties are computed in float32 (float64 stays) with autocast off, whatever surrounds them: a
second derivative in half precision is noise. They are differentiable in D's parameters; neither
the images nor the generator that made them receive a gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from functional.schedule import Schedule, check_range, value_at

Discriminator = Callable[..., Tensor]
"""``(images)`` or ``(images, labels)`` -> logits; image i's logits must not depend on image j, so
a discriminator with BatchNorm gives a penalty of another meaning."""


@torch.no_grad()
def clip_weights(parameters: Iterable[Tensor], c: float) -> None:
    """Clamp every parameter to [-c, c] in place (Arjovsky et al. 2017, algorithm 1).

    Raises:
        ValueError: where ``c`` is not positive.
    """
    if not c > 0:
        raise ValueError(f"weights are clipped to [-c, c] with c > 0, got {c}; the paper has 0.01")
    for parameter in parameters:
        parameter.clamp_(-c, c)


def gradient_penalty(
    discriminator: Discriminator,
    real: Tensor,
    fake: Tensor,
    labels: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Give WGAN-GP's penalty E (||grad D(x_hat)||_2 - 1)^2 without its lambda, a scalar.

    x_hat = alpha real + (1 - alpha) fake with one uniform alpha for each image (Gulrajani et al.
    2017, eq. 3 and algorithm 1); lambda is 10 there.

    Args:
        discriminator: see ``Discriminator``.
        real, fake: ``(N, ...)`` of one shape.
        labels: ``(N,)``, those of real and of fake images alike.
        generator: of alpha, on any device; torch's global one without it.

    Raises:
        ValueError: where the shapes of real and fake images differ.
    """
    if real.shape != fake.shape:
        raise ValueError(
            f"the gradient penalty interpolates real {tuple(real.shape)} and fake "
            f"{tuple(fake.shape)} images: give equal shapes"
        )
    real, fake = _leaf(real), _leaf(fake)
    shape = (len(real),) + (1,) * (real.ndim - 1)
    device = real.device if generator is None else generator.device
    alpha = torch.rand(shape, generator=generator, device=device, dtype=real.dtype).to(real.device)
    gradients = _gradients(discriminator, fake + alpha * (real - fake), labels)
    # Not the root of a sum of squares, whose derivative at a flat D is NaN.
    norms: Tensor = torch.linalg.vector_norm(gradients, dim=1)
    return (norms - 1).square().mean()


def r1(discriminator: Discriminator, real: Tensor, labels: Tensor | None = None) -> Tensor:
    """Give 1/2 E ||grad D(x)||^2 on real images, a scalar: R1 with its half, without its gamma.

    Mescheder et al. 2018, eq. 9: the whole term is ``gamma * r1(...)``, the squares summed over
    all the pixels of an image and averaged over images.
    """
    squared_norms = _gradients(discriminator, _leaf(real), labels).square().sum(dim=1)
    return squared_norms.mean() / 2


def r2(discriminator: Discriminator, fake: Tensor, labels: Tensor | None = None) -> Tensor:
    """Give 1/2 E ||grad D(x)||^2 on generated images (Mescheder et al. 2018, eq. 10); cf. r1."""
    return r1(discriminator, fake, labels)


PENALTIES = ("gradient_penalty", "r1", "r2")


@dataclass(frozen=True)
class Penalty:
    """A penalty of D with its weight, taken every ``interval`` steps.

    A lazy penalty is multiplied by its interval, so that its mean over steps is that of a penalty
    taken at every step (Karras et al. 2020, StyleGAN2, section 3.1).

    Args:
        name: one of ``PENALTIES``.
        weight: lambda of WGAN-GP; gamma of R1 and R2, which hold the half themselves; a number or
            a schedule, such as R3GAN's gamma.
        interval: 1 for every step.

    Raises:
        ValueError: for an unknown name, a negative weight or an interval below 1.
    """

    name: str
    weight: float | Schedule
    interval: int

    def __post_init__(self) -> None:
        if self.name not in PENALTIES:
            raise ValueError(f"unknown penalty {self.name!r}; known: {', '.join(PENALTIES)}")
        check_range(f"the weight of {self.name}", self.weight, 0.0, math.inf)
        if self.interval < 1:
            raise ValueError(
                f"{self.name} is taken every interval >= 1 steps, got {self.interval}; "
                "set its weight to 0 to do without it"
            )

    def due(self, step: int, images: int = 0) -> bool:
        """Say whether D's step number ``step`` takes the penalty.

        Both count from 0; ``images`` have been seen before the step.
        """
        return step % self.interval == 0 and value_at(self.weight, images) > 0

    def value(
        self,
        discriminator: Discriminator,
        real: Tensor,
        fake: Tensor,
        real_labels: Tensor | None = None,
        fake_labels: Tensor | None = None,
    ) -> Tensor:
        """Give the bare penalty, a scalar: what to log."""
        if self.name == "r1":
            return r1(discriminator, real, real_labels)
        if self.name == "r2":
            return r2(discriminator, fake, fake_labels)
        return gradient_penalty(discriminator, real, fake, real_labels)

    def weighted(self, value: Tensor, images: int = 0) -> Tensor:
        """Give what a due step adds to D's loss: ``weight * interval * value``."""
        return value_at(self.weight, images) * self.interval * value


def refuse_compiled(discriminator: nn.Module) -> None:
    """Refuse a compiled network where a penalty differentiates it twice.

    Raises:
        ValueError: where the network, or a part of it, went through ``torch.compile``.
    """
    for name, module in discriminator.named_modules():
        wrapped = hasattr(module, "_orig_mod")
        if wrapped or getattr(module, "_compiled_call_impl", None) is not None:
            raise ValueError(
                f"the discriminator ({name or 'as a whole'}) is compiled, and torch.compile gives "
                "no second derivative, which a gradient penalty needs: compile the generator "
                "alone, or train without gradient_penalty, r1 and r2"
            )


def refuse_synchronised(discriminator: nn.Module) -> None:
    """Refuse batch norm over several processes where a penalty differentiates it twice.

    Raises:
        ValueError: where the network has batch norm, to be made or made already SyncBatchNorm.
    """
    batch_norm = torch.nn.modules.batchnorm._BatchNorm
    for name, module in discriminator.named_modules():
        if isinstance(module, batch_norm):
            raise ValueError(
                f"the discriminator has batch norm ({name or 'as a whole'}), which over several "
                "processes has no second derivative, and a gradient penalty needs it: set "
                "method.discriminator.norm=none, sync_batchnorm=false or method.penalties=[]"
            )


def _leaf(images: Tensor) -> Tensor:
    return images.detach().to(torch.promote_types(images.dtype, torch.float32))


def _gradients(discriminator: Discriminator, images: Tensor, labels: Tensor | None) -> Tensor:
    """Give grad_x D(x) of each image, ``(N, pixels)``, differentiable in D's parameters."""
    with torch.enable_grad(), torch.autocast(images.device.type, enabled=False):
        images = images.detach().requires_grad_()
        logits = discriminator(images) if labels is None else discriminator(images, labels)
        (gradients,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
        return gradients.flatten(1)
