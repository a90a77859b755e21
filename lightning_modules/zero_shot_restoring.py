"""What a diffusion model is used for beside samples: restoring, varying, encoding images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from functional.class_labels import labels_of
from functional.denoising_model import ModelDenoiser
from functional.inversion import ddim_inversion
from functional.latents import paths
from functional.linear_operators import Identity, linear_operator, measurement_std
from functional.noise_schedule import NoiseSchedule
from functional.offset_noise import OffsetNoise
from functional.operators import noise_level
from functional.restore_tasks import RestoreTask, restore_task
from functional.restoring import Restoring
from functional.samplers import SAMPLERS, ddim
from functional.sampling import Sampling
from functional.seeding import ImageNoise
from functional.time_grid import time_grid
from functional.variation import check_strength, sdedit, times_below, times_from
from functional.zero_shot import FROM_NOISE, RESTORERS, restorer_evaluations, settled_time
from lightning_modules.base import ImageModule

ENCODING_ITERATIONS = 3


class ZeroShotRestoring(ImageModule):
    """A method with a denoiser, which restores and varies images without training for it.

    Attributes:
        restoring, sampling: how images are restored and drawn.
    """

    schedule: NoiseSchedule
    sampling: Sampling
    restoring: Restoring
    offset_noise: float
    label_dropout: float
    num_classes: int

    def denoiser(self, labels: Tensor | None = None) -> ModelDenoiser:
        """Give the estimates of x_0 for one reverse process of images with these labels."""
        raise NotImplementedError

    def sampling_times(self) -> Tensor:
        """Give the falling times ``(steps + 1,)`` of the sampler."""
        raise NotImplementedError

    def noise(self, seeds: Sequence[int]) -> OffsetNoise:
        """Give the noise of images of these seeds, as the forward process of training has it."""
        return OffsetNoise(ImageNoise(seeds, self.device), self.offset_noise)

    def restore_task(self, name: str) -> RestoreTask:
        """Give the task of that name, e.g. ``random-75``."""
        return restore_task(name, self.image_shape)

    @torch.no_grad()
    def restore(self, corrupted: Tensor, operator: Any, *, seeds: Sequence[int]) -> Tensor:
        """Give images ``(N, C, H, W)`` in [-1, 1] that ``operator`` makes ``corrupted`` of.

        By ``restoring.restorer``. Where noise alone was added the chain begins at the time of its
        level. A conditional model does without labels if it was trained to.

        Raises:
            ValueError: for an operator that is not linear (see ``functional.linear_operators``), or
                another number of seeds.
        """
        if len(seeds) != len(corrupted):
            raise ValueError(f"{len(corrupted)} images need as many seeds, got {len(seeds)}")
        std, linear = measurement_std(operator, corrupted), linear_operator(operator)
        times, denoiser = (
            self.restoring_times(operator, std),
            self.denoiser(self._own_labels(seeds)),
        )
        return RESTORERS[self.restoring.restorer](
            denoiser, corrupted, linear, times, self.schedule, self.noise(seeds), std,
            trace=self.watcher, **self.restoring.options,
        ).clamp(-1, 1)  # fmt: skip

    def restoring_grid(self) -> Tensor:
        """Give the falling times of restoring, from noise alone to an image.

        A chain of fewer steps than ``restoring.steps`` takes all of its own.
        """
        steps = self.restoring.steps
        if self.schedule.discrete:
            steps = min(steps, round(self.schedule.t_max))
        return time_grid(self.schedule, steps, self.restoring.spacing)

    def restoring_times(self, operator: Any, std: Tensor) -> Tensor:
        """Give the falling times of restoring what ``operator`` did, noise of ``std`` included."""
        times, linear = self.restoring_grid(), linear_operator(operator)
        begins = self.restoring.restorer not in FROM_NOISE and isinstance(linear, Identity)
        if not begins or not bool(std.any()):
            return times
        return times_below(times, settled_time(linear, self.schedule, std).cpu())

    def restoring_record(self, operator: Any) -> dict[str, Any]:
        """Give how :meth:`restore` undoes ``operator``, and its evaluations, for a protocol."""
        level, settings = noise_level(operator), self.restoring
        std = measurement_std(operator, torch.zeros(1 if level is None else len(level)))
        times = self.restoring_times(operator, std)
        settled = settled_time(linear_operator(operator), self.schedule, std)
        nfe = restorer_evaluations(settings.restorer, times, settled, settings.options)
        return {"sampler": settings.name, "spacing": settings.spacing, "nfe": nfe}

    @torch.no_grad()
    def vary(
        self,
        images: Tensor,
        strength: float,
        *,
        seeds: Sequence[int],
        labels: Tensor | None = None,
    ) -> Tensor:
        """Give images in [-1, 1] kin to ``images``, by SDEdit with the sampler of :meth:`sample`.

        ``strength`` is the share of noise, sigma / (sigma + alpha), that they are drawn from. A
        conditional model asked without labels does without if it was trained to, and else draws
        each image's class from its seed.

        Raises:
            ValueError: for a strength outside [0, 1], other labels than the model's, or another
                number of seeds.
        """
        check_strength(strength)
        if len(seeds) != len(images):
            raise ValueError(f"{len(images)} images need as many seeds, got {len(seeds)}")
        denoiser = self.denoiser(self._own_labels(seeds, labels))
        return sdedit(
            SAMPLERS[self.sampling.sampler], denoiser, images, strength, self.sampling_times(),
            self.schedule, self.noise(seeds), trace=self.watcher, **self.sampling.options,
        ).clamp(-1, 1)  # fmt: skip

    def varying_record(self, strength: float) -> dict[str, Any]:
        """Give the record of sampling, with the evaluations of the steps that are taken."""
        steps = len(times_from(self.sampling_times(), self.schedule, strength)) - 1
        return {**self.sampling_record(), "nfe": self.sampling.nfe(steps)}

    def interpolating_record(self) -> dict[str, Any]:
        """Give the record of DDIM; encoding given images takes evaluations of its own."""
        return {**self.sampling_record(), **self.sampling.deterministic().record()}

    def _own_labels(self, seeds: Sequence[int], labels: Tensor | None = None) -> Tensor | None:
        """Give ``labels`` checked; without any, those of the seeds where the model needs some."""
        if labels is None and self.label_dropout:
            return None
        labels = labels_of(seeds, labels, self.num_classes)
        return None if labels is None else labels.to(self.device)

    @torch.no_grad()
    def interpolate(
        self, ends: Sequence[int] | Tensor, weights: Sequence[float], label: int | None = None
    ) -> Tensor:
        """Give ``(K - 1, P, C, H, W)``, along great circles between the noise of K ends.

        Song et al. (2021, DDIM, section 5.3), by DDIM of eta 0. The noise of an image is that of
        ``ENCODING_ITERATIONS`` (see ``functional.inversion``), so a way begins near it: the more
        steps, the nearer.

        Args:
            ends: K seeds, or images ``(K, C, H, W)``.
            weights: P shares of each way.
            label: the class of all images. None: of a way between seeds the first one's, as
                :meth:`sample` has it; between images none.

        Raises:
            ValueError: for images without a label where the model cannot do without.
        """
        if isinstance(ends, Tensor):
            if label is None and self.num_classes and not self.label_dropout:
                raise ValueError("of which class are the images? this model needs one: label=3")
            known = self._own_labels(range(len(ends)), self._all(label, len(ends)))
            noise = self.encode(ends, known, ENCODING_ITERATIONS)
            labels = None if known is None else known[:-1]
        else:
            noise = self.schedule.prior_std * self.noise(ends)(*self.image_shape)
            labels = labels_of(ends[:-1], self._all(label, len(ends) - 1), self.num_classes)
        if labels is not None:
            labels = labels.repeat_interleave(len(weights)).to(self.device)
        between = paths(noise, weights)
        images = self.decode(between.flatten(0, 1), labels)
        return images.view(between.shape)

    def _all(self, label: int | None, n: int) -> Tensor | None:
        return None if label is None else torch.full((n,), label)

    @torch.no_grad()
    def encode(self, images: Tensor, labels: Tensor | None = None, iterations: int = 0) -> Tensor:
        """Give the noise that DDIM of eta 0 turns into ``images``; see ``functional.inversion``."""
        denoiser, times = self.denoiser(labels), self.sampling_times()
        return ddim_inversion(denoiser, images, times, self.schedule, iterations=iterations)

    @torch.no_grad()
    def decode(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """Give the images that DDIM of eta 0 makes of ``noise``, of the schedule's last time."""
        denoiser, times = self.denoiser(labels), self.sampling_times()
        return ddim(denoiser, noise, times, self.schedule, ImageNoise([])).clamp(-1, 1)
