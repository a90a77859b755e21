"""A network becomes a model of x_0: what it is given, what its output means, how it is trained."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from functional.diffusion import check_pair, input_scale, levels, q_sample, to_x0
from functional.guidance import guide, rescale_guidance
from functional.noise_schedule import NoiseSchedule
from functional.objective import Objective, add_noise, split_output
from functional.seeding import ImageNoise

FEATURE_SEED = 0


class DenoisingModel:
    """Estimates of x_0 by a network, and the loss that trains it.

    Args:
        network: maps ``(N, C, H, W)`` and times ``(N,)``, and labels ``(N,)`` where it has
            ``num_classes``, to ``(N, C, H, W)``; with self-conditioning it is given twice the
            channels, with a learnt variance it gives twice.
        schedule, prediction: see ``functional.noise_schedule`` and ``functional.diffusion``.
        objective: what is minimised.
        clip: hold an estimate that is used further in [-1, 1].
        clipped_loss: see ``functional.diffusion.without_overshoot``.
        self_conditioning: share of training images for which the network is first asked for an
            estimate and then given it (Chen et al. 2022); 0 is without.

    Raises:
        ValueError: for parts that do not go together.
    """

    def __init__(
        self,
        network: Callable[..., Tensor],
        schedule: NoiseSchedule,
        prediction: str,
        objective: Objective,
        clip: bool,
        clipped_loss: bool = False,
        self_conditioning: float = 0.0,
    ) -> None:
        check_pair(prediction, schedule)
        objective.check(schedule)
        if clipped_loss and not clip:
            raise ValueError(
                "clipped_loss=True trains a network whose estimates leave [-1, 1]; "
                "set sampling.clip=True, or clipped_loss=False"
            )
        self.network, self.schedule, self.prediction = network, schedule, prediction
        self.objective, self.clip, self.clipped_loss = objective, clip, clipped_loss
        self.self_conditioning = self_conditioning
        self.num_classes = int(getattr(network, "num_classes", 0))

    def output(
        self,
        x_t: Tensor,
        t: Tensor,
        labels: Tensor | None = None,
        before: Tensor | None = None,
    ) -> Tensor:
        """Give the network's output for noisy images ``(N, C, H, W)`` at times ``t``.

        Without ``labels`` a conditional network is told that there are none; without the estimate
        ``before`` a self-conditioned one is given zeros.
        """
        return self.network(*self.inputs(x_t, t, labels, before))

    def inputs(
        self, x_t: Tensor, t: Tensor, labels: Tensor | None = None, before: Tensor | None = None
    ) -> list[Tensor]:
        """Give what the network is called with, see :meth:`output`."""
        given = input_scale(self.prediction, *levels(self.schedule, t, x_t)) * x_t
        if self.self_conditioning:
            given = torch.cat([given, torch.zeros_like(x_t) if before is None else before], dim=1)
        inputs = [given, self.schedule.conditioning(t).expand(len(x_t))]
        if self.num_classes:
            null = torch.full((len(x_t),), self.num_classes, device=x_t.device)
            inputs.append(null if labels is None else labels)
        return inputs

    def features(self, images: Tensor, noise: float, block: int) -> Tensor:
        """Give what the network has of ``images`` ``(N, C, H, W)`` after a block, ``(N, D)``.

        At the time at which sigma / alpha is ``noise``, with the same noise on every image, so that
        features are a function of the image (Baranchuk et al. 2022; pooled, Xiang et al. 2023).

        Raises:
            ValueError: see :func:`check_features`.
        """
        check_features(self.network, noise, block)
        ratio = torch.tensor(noise, dtype=torch.float64, device=images.device)
        t = self.schedule.time_of(ratio.log())
        drawn = ImageNoise([FEATURE_SEED], images.device)(*images.shape[1:])
        x_t = q_sample(images, drawn, t, self.schedule)
        network: Any = self.network
        features: Tensor = network.features(*self.inputs(x_t, t), block=block)
        return features.float()

    def estimate(
        self, x_t: Tensor, t: Tensor, labels: Tensor | None = None, before: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Give the estimate of x_0 and what is said of the variance, None where nothing is."""
        x0, fraction = self._unclipped(x_t, t, labels, before)
        return (x0.clamp(-1, 1) if self.clip else x0), fraction

    def guided(
        self,
        x_t: Tensor,
        t: Tensor,
        labels: Tensor,
        before: Tensor | None = None,
        scale: float = 1.0,
        rescale: float = 0.0,
    ) -> tuple[Tensor, Tensor | None]:
        """Give as :meth:`estimate`, the estimate pushed on from the one without a label.

        Two evaluations in one batch; see ``functional.guidance``. Clipped after that.
        """
        null = torch.full_like(labels, self.num_classes)
        both = None if before is None else torch.cat([before, before])
        x0, fraction = self._unclipped(torch.cat([x_t, x_t]), t, torch.cat([labels, null]), both)
        conditional, unconditional = x0.chunk(2)
        x0 = guide(conditional, unconditional, scale)
        if rescale:
            x0 = rescale_guidance(x0, conditional, rescale)
        said = None if fraction is None else fraction.chunk(2)[0]
        return (x0.clamp(-1, 1) if self.clip else x0), said

    def _unclipped(
        self, x_t: Tensor, t: Tensor, labels: Tensor | None, before: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        output = self.output(x_t, t, labels, before).float()
        output, fraction = split_output(output, self.objective.learns_variance)
        return to_x0(self.prediction, output, x_t, *levels(self.schedule, t, x_t)), fraction

    def loss(
        self, x0: Tensor, eps: Tensor, t: Tensor, labels: Tensor | None = None, share: float = 1.0
    ) -> Tensor:
        """Give the objective per image ``(N,)`` of images ``x0`` at times ``t`` with noise ``eps``.

        With self-conditioning a ``share`` of the images is given an estimate.
        """
        noisy = add_noise(x0, eps, t, self.schedule)
        before = self._first(noisy.x_t, t, labels, share) if self.self_conditioning else None
        output = self.output(noisy.x_t, t, labels, before)
        return self.objective(output, noisy, self.prediction, self.schedule, self.clipped_loss)

    @torch.no_grad()
    def _first(self, x_t: Tensor, t: Tensor, labels: Tensor | None, share: float) -> Tensor:
        """Give estimates of x_0 for a ``share`` of the images, chosen at random, else zeros."""
        chosen = torch.arange(len(x_t), device=x_t.device)
        if share < 1:
            # The order of stratified times is no order to choose by.
            chosen = torch.randperm(len(x_t), device=x_t.device)[: round(share * len(x_t))]
        some = None if labels is None else labels[chosen]
        x0, _ = self.estimate(x_t[chosen], t[chosen], some)
        return torch.zeros_like(x_t).index_copy(0, chosen, x0)


class ModelDenoiser:
    """What samplers call: a model's estimates of x_0 down one reverse process.

    A self-conditioned network is given the estimate of the call before, so each process needs a
    denoiser of its own.

    Args:
        model: gives the estimates.
        labels: of the images, or None.
        autocast: gives the context in which the network runs.
        guidance, rescale: scale and amount of classifier-free guidance; 1 is none.
    """

    def __init__(
        self,
        model: DenoisingModel,
        labels: Tensor | None,
        autocast: Callable[[], AbstractContextManager[Any]],
        guidance: float = 1.0,
        rescale: float = 0.0,
    ) -> None:
        self.model, self.labels, self.autocast = model, labels, autocast
        self.guidance, self.rescale = guidance, rescale
        self.before: Tensor | None = None

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Give the estimate of x_0, as ``x_t``, at the scalar time ``t``."""
        return self.with_variance(x_t, t)[0]

    def with_variance(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor | None]:
        """Give the estimate of x_0 and what is said of the variance, None where nothing is."""
        t, labels = t.to(x_t.device), self.labels
        with self.autocast():
            if labels is None or self.guidance == 1:
                x0, fraction = self.model.estimate(x_t, t, labels, self.before)
            else:
                x0, fraction = self.model.guided(
                    x_t, t, labels, self.before, self.guidance, self.rescale
                )
        if self.model.self_conditioning:
            self.before = x0
        return x0, fraction


def check_network(
    network: object, channels: int, learns_variance: bool, self_conditioning: float
) -> None:
    """Refuse a network whose channels are not those that the settings call for (ValueError)."""
    for name, on, what in (
        ("in_channels", self_conditioning > 0, "self-conditioning"),
        ("out_channels", learns_variance, "a learnt variance"),
    ):
        expected = 2 * channels if on else channels
        found = getattr(network, name, expected)
        if found != expected:
            raise ValueError(
                f"network.{name}={found}, but {'with' if on else 'without'} {what} images of "
                f"{channels} channels need {expected}; set method.network.{name}={expected}"
            )


def check_features(network: object, noise: float, block: int) -> None:
    """Refuse a level of noise, or a block, of which there are no features (ValueError)."""
    blocks = getattr(network, "feature_blocks", 0)
    if not 0 < noise < math.inf or not 0 <= block <= blocks:
        raise ValueError(
            f"feature_noise={noise}, feature_block={block}: expected a ratio of noise to signal "
            f"above 0, and 0 (the middle) to {blocks} blocks of the way up"
        )


def check_shares(label_dropout: float, self_conditioning: float, num_classes: int) -> None:
    """Refuse shares outside [0, 1], and labels to be left out where there are none (ValueError)."""
    shares = {"label_dropout": label_dropout, "self_conditioning": self_conditioning}
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise ValueError(f"{name}={share} is no share between 0 and 1")
    if label_dropout and not num_classes:
        raise ValueError(
            f"label_dropout={label_dropout} with a network without classes; set "
            "method.network.num_classes=${data.num_classes}, or label_dropout=0"
        )


def check_classes(ours: int, theirs: int) -> None:
    """Refuse a network conditional on another number of classes than the data's (ValueError)."""
    if ours and ours != theirs:
        raise ValueError(
            f"the network is conditional on num_classes={ours}, but the data has {theirs}; set "
            f"method.network.num_classes={theirs}{'' if theirs else ', and label_dropout=0'}"
        )
