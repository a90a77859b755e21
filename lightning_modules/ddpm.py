"""Denoising diffusion (Sohl-Dickstein 2015, Ho 2020) under any prediction, schedule and sampler."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from datamodules.base import Batch
from functional.class_labels import drop_labels, labels_of
from functional.denoising_model import (
    DenoisingModel,
    ModelDenoiser,
    check_classes,
    check_features,
    check_network,
    check_shares,
)
from functional.model_likelihood import ModelLikelihood
from functional.noise_schedule import NoiseSchedule
from functional.objective import Objective
from functional.offset_noise import OffsetNoise, with_offset
from functional.process import Process, process
from functional.restoring import Restoring
from functional.samplers import SAMPLERS
from functional.sampling import Sampling
from functional.seeding import ImageNoise, image_seeds
from functional.time_grid import time_grid
from functional.time_sampling import TimeSampler
from lightning_modules.generation import class_rows
from lightning_modules.optimisation import scheduled
from lightning_modules.zero_shot_restoring import ZeroShotRestoring

PREVIEW_SEED = 1
L_SIMPLE, RESTORING = Objective(), Restoring()


class DDPM(ZeroShotRestoring):
    """A diffusion model: wiring of a network, a noise schedule, an objective and a sampler.

    Args:
        network: maps ``(N, C, H, W)`` and times ``(N,)``, and labels where it has ``num_classes``,
            to ``(N, C, H, W)``; twice the channels go in with ``self_conditioning`` and come out
            with a learnt variance.
        schedule: alpha and sigma of t.
        times: draws the training times.
        prediction: "eps" (Ho 2020), "x0", "v", "velocity" or "edm".
        sampling: how images are drawn.
        optimizer: makes the optimiser from named parameters.
        warmup_steps, decay: of the learning rate; the decay spans the budget of the run.
        channels, image_size: of the images.
        objective: what is minimised, L_simple by default.
        clipped_loss: count the error of the estimate of x_0 as clipped to [-1, 1], as it is used
            where ``sampling.clip`` is set (see ``functional.diffusion.without_overshoot``).
        pairing: puts the noise of a batch in the order of its images, or None.
        offset_noise: standard deviation of what is added to the noise of a whole channel.
        label_dropout: share of labels left out in training, for classifier-free guidance.
        self_conditioning: share of training images for which the network is first asked for an
            estimate and then given it (Chen et al. 2022; 0.5 in the paper); 0 is without.
        compile_network: compile the network; the keys of checkpoints stay as they are.
        feature_noise, feature_block: noise over signal (sigma / alpha) at which :meth:`features`
            are read, and after how many blocks of the network's way up; 0 is the middle.
        restoring: how images are restored.
    """

    capabilities = frozenset(
        {"sample", "restore", "vary", "interpolate", "chain", "process", "features", "likelihood"}
    )
    ema_modules = ("network",)
    feature_settings = ("feature_noise", "feature_block")

    def __init__(
        self,
        network: nn.Module,
        schedule: NoiseSchedule,
        times: TimeSampler,
        prediction: str,
        sampling: Sampling,
        optimizer: Callable[[Iterable[tuple[str, nn.Parameter]]], Optimizer],
        warmup_steps: int,
        decay: str,
        channels: int,
        image_size: int,
        objective: Objective = L_SIMPLE,
        clipped_loss: bool = False,
        pairing: Callable[[Tensor, Tensor], Tensor] | None = None,
        offset_noise: float = 0.0,
        label_dropout: float = 0.0,
        self_conditioning: float = 0.0,
        compile_network: bool = False,
        feature_noise: float = 0.1,
        feature_block: int = 0,
        restoring: Restoring = RESTORING,
    ) -> None:
        super().__init__()
        check_network(network, channels, objective.learns_variance, self_conditioning)
        self.model = DenoisingModel(
            network, schedule, prediction, objective, sampling.clip, clipped_loss, self_conditioning
        )
        self.num_classes = self.model.num_classes
        check_shares(label_dropout, self_conditioning, self.num_classes)
        times.check(schedule)
        sampling.check(objective.learns_variance, self.num_classes, label_dropout)
        self.network, self.schedule, self.times = network, schedule, times
        self.sampling, self.pairing = sampling, pairing
        self.restoring = restoring
        self.sampling_times(), self.restoring_grid()
        self.offset_noise, self.label_dropout = offset_noise, label_dropout
        self.optimizer_factory = optimizer
        self.learning_rate_factor = self.learning_rate_lambda(warmup_steps, decay)
        self.image_shape = (channels, image_size, image_size)
        self.feature_noise, self.feature_block = feature_noise, feature_block
        check_features(network, feature_noise, feature_block)
        if not hasattr(network, "features"):
            self.capabilities = self.capabilities - {"features"}
        if compile_network:
            self.network.compile()

    def setup(self, stage: str) -> None:
        """Refuse data that have not the classes of the network, before the first step."""
        data: Any = getattr(self.trainer, "datamodule", None)
        if data is not None and stage == "fit":
            check_classes(self.num_classes, data.num_classes)

    def forward(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """Give the network's output for noisy images ``(N, C, H, W)`` at times ``(N,)``."""
        return self.model.output(x_t, t, labels)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        x0, labels = batch.images, batch.labels if self.num_classes else None
        drawn = self.times.draw(len(x0), self.schedule, x0.device)
        eps = with_offset(torch.randn_like(x0), self.offset_noise)
        if self.pairing is not None:
            eps = self.pairing(x0, eps)
        if labels is not None and self.label_dropout:
            labels = drop_labels(labels, self.label_dropout, self.num_classes)
        losses = self.model.loss(x0, eps, drawn.t, labels, self.model.self_conditioning)
        loss = (losses if drawn.weight is None else drawn.weight.to(losses.dtype) * losses).mean()
        self.times.observe(drawn, losses)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._log_fixed_loss("val/loss", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._log_fixed_loss("test/loss", batch)

    def _log_fixed_loss(self, name: str, batch: Batch) -> None:
        """Log the loss at times and noise that are functions of the image's index alone."""
        x0, labels = batch.images, batch.labels if self.num_classes else None
        noise = OffsetNoise(
            ImageNoise(image_seeds(0, batch.indices.tolist()), x0.device), self.offset_noise
        )
        # Multiples of the golden ratio fill the unit interval evenly for any run of indices.
        u = (batch.indices.double() * 0.6180339887498949).frac().clamp(1e-4, 1)
        loss = self.model.loss(x0, noise(*x0.shape[1:]), self.schedule.quantile(u), labels).mean()
        self.log(name, loss, batch_size=len(x0), sync_dist=True)

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer_factory(self.network.named_parameters())
        return scheduled(optimizer, self.learning_rate_factor)

    def sampling_times(self) -> Tensor:
        """Give the falling times ``(steps + 1,)`` at which :meth:`sample` stands."""
        return time_grid(self.schedule, self.sampling.steps, self.sampling.spacing)

    def denoiser(self, labels: Tensor | None = None) -> ModelDenoiser:
        """Give the estimates of x_0 for one reverse process of images with these labels."""
        guided = self.sampling.guidance, self.sampling.guidance_rescale
        return ModelDenoiser(self.model, labels, self.autocast, *guided)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        seeds: Sequence[int],
        labels: Tensor | None = None,
        trace: Callable[[int, Tensor, Tensor], None] | None = None,
    ) -> Tensor:
        """Give ``(n, C, H, W)`` images from noise; image i depends on ``seeds[i]`` only.

        A conditional model asked without labels draws each image's class from its seed.
        """
        if len(seeds) != n:
            raise ValueError(f"{n} images need {n} seeds, got {len(seeds)}")
        labels = labels_of(seeds, labels, self.num_classes)
        denoiser = self.denoiser(None if labels is None else labels.to(self.device))
        noise = self.noise(seeds)
        start, sampler = self.schedule.prior_std * noise(*self.image_shape), self.sampling.sampler
        return SAMPLERS[sampler](
            denoiser, start, self.sampling_times(), self.schedule, noise,
            trace=trace or self.watcher, **self.sampling.options,
        ).clamp(-1, 1)  # fmt: skip

    @torch.no_grad()
    def chain(self, seeds: Sequence[int], frames: int = 8) -> Tensor:
        """Give ``(N, frames, C, H, W)``: estimates of x_0 along the chain; the last, the sample."""
        seen: list[Tensor] = []
        last = self.sample(
            len(seeds), seeds=seeds, trace=lambda k, x_t, x0: seen.append(x0.clamp(-1, 1))
        )
        picked = [seen[i] for i in torch.linspace(0, len(seen) - 1, frames - 1).long().tolist()]
        return torch.stack([*picked, last], dim=1)

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Give what the network has of ``images`` with a little noise, ``(N, D)`` float32.

        See ``functional.denoising_model.DenoisingModel.features``.
        """
        with self.autocast():
            return self.model.features(images, self.feature_noise, self.feature_block)

    @torch.no_grad()
    def process(
        self, images: Tensor, field: Tensor, *, seeds: Sequence[int], frames: int
    ) -> Process:
        """Give both processes at ``frames`` of the sampler's times (capability "process")."""
        states: list[Tensor] = []
        last = self.sample(len(seeds), seeds=seeds, trace=lambda k, x_t, x0: states.append(x_t))
        grid = self.sampling_times()
        noise = self.noise(seeds)(*self.image_shape)
        states.append(last)
        denoiser = self.denoiser()
        return process(denoiser, self.schedule, grid, states, images, noise, field, frames)

    def likelihood(self) -> ModelLikelihood:
        """Give what measures bits/dim of images; the chain's variance is the one of sampling."""
        learnt = self.model.objective.learns_variance
        variance = "learnt" if learnt else self.sampling.variance
        return ModelLikelihood(self.model, variance, self.autocast)

    def previews(self, batch: Batch) -> dict[str, Tensor]:
        """Give 64 ``samples``, the ``chain`` of the first 8, and of a conditional model 8 images
        of each class as rows of ``classes``; all from fixed seeds."""
        seeds = image_seeds(PREVIEW_SEED, range(64))
        shown = {"samples": self.sample(64, seeds=seeds), "chain": self.chain(seeds[:8])}
        if self.num_classes:
            shown["classes"] = class_rows(self, seeds[:8], self.num_classes)
        return shown

    def sampling_record(self) -> dict[str, Any]:
        return {**self.sampling.record(), "prediction": self.model.prediction}

    def forward_flops(self) -> int:
        """Give the floating-point operations of one forward pass on one image."""
        channels, *size = self.image_shape
        labels = (torch.zeros(1, dtype=torch.long),) if self.num_classes else ()
        given = (channels * (1 + (self.model.self_conditioning > 0)), *size)
        return self.count_flops(self.network, given, torch.ones(1), *labels)
