"""Denoising diffusion (Sohl-Dickstein 2015, Ho 2020) under any prediction, schedule and sampler."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from datamodules.base import Batch
from functional.diffusion import (
    check_pair,
    input_scale,
    levels,
    q_sample,
    simple_loss,
    target,
    to_x0,
    without_overshoot,
)
from functional.noise_schedule import NoiseSchedule
from functional.samplers import SAMPLERS
from functional.sampling import Sampling
from functional.seeding import ImageNoise, image_seeds
from functional.time_grid import time_grid
from functional.time_sampling import TimeSampler
from lightning_modules.base import ImageModule
from lightning_modules.optimisation import scheduled

PREVIEW_SEED = 1


class DDPM(ImageModule):
    """A diffusion model: wiring of a network, a noise schedule, an objective and a sampler.

    Args:
        network: maps ``(N, C, H, W)`` and times ``(N,)`` to ``(N, C, H, W)``.
        schedule: alpha and sigma of t.
        times: draws the training times.
        prediction: "eps" (Ho 2020), "x0", "v", "velocity" or "edm".
        sampling: how images are drawn.
        optimizer: makes the optimiser from named parameters.
        warmup_steps, decay: of the learning rate; the decay spans the budget of the run.
        channels, image_size: of the images.
        clipped_loss: count the error of the estimate of x_0 as clipped to [-1, 1], as it is used
            where ``sampling.clip`` is set (see ``functional.diffusion.without_overshoot``).
        compile_network: compile the network; the keys of checkpoints stay as they are.
    """

    capabilities = frozenset({"sample", "chain"})
    ema_modules = ("network",)

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
        clipped_loss: bool = False,
        compile_network: bool = False,
    ) -> None:
        super().__init__()
        check_pair(prediction, schedule)
        if clipped_loss and not sampling.clip:
            raise ValueError(
                "clipped_loss=True trains a network whose estimates leave [-1, 1]; "
                "set sampling.clip=True, or clipped_loss=False"
            )
        time_grid(schedule, sampling.steps, sampling.spacing)
        self.network, self.schedule, self.times = network, schedule, times
        self.prediction, self.sampling = prediction, sampling
        self.clipped_loss = clipped_loss
        self.optimizer_factory = optimizer
        self.learning_rate_factor = self.learning_rate_lambda(warmup_steps, decay)
        self.image_shape = (channels, image_size, image_size)
        if compile_network:
            self.network.compile()

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Give the network's output for noisy images ``(N, C, H, W)`` at times ``(N,)``."""
        alpha, sigma = levels(self.schedule, t, x_t)
        scaled = input_scale(self.prediction, alpha, sigma) * x_t
        output: Tensor = self.network(scaled, self.schedule.conditioning(t).expand(len(x_t)))
        return output

    def loss(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """Give L_simple per image ``(N,)`` of images ``x0`` at times ``t`` with noise ``eps``."""
        alpha, sigma = levels(self.schedule, t, x0)
        wanted = target(self.prediction, x0, eps, alpha, sigma)
        x_t = q_sample(x0, eps, t, self.schedule)
        output = self(x_t, t).float()
        if self.clipped_loss:
            estimate = to_x0(self.prediction, output.detach(), x_t, alpha, sigma)
            wanted = without_overshoot(output, wanted, x0, estimate)
        return simple_loss(output, wanted)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        x0 = batch.images
        t = self.times(len(x0), self.schedule, x0.device)
        loss = self.loss(x0, torch.randn_like(x0), t).mean()
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._log_fixed_loss("val/loss", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._log_fixed_loss("test/loss", batch)

    def _log_fixed_loss(self, name: str, batch: Batch) -> None:
        """Log the loss at times and noise that are functions of the image's index alone."""
        x0 = batch.images
        noise = ImageNoise(image_seeds(0, batch.indices.tolist()), x0.device)
        # Multiples of the golden ratio fill the unit interval evenly for any run of indices.
        u = (batch.indices.double() * 0.6180339887498949).frac().clamp(1e-4, 1)
        loss = self.loss(x0, noise(*x0.shape[1:]), self.schedule.quantile(u)).mean()
        self.log(name, loss, batch_size=len(x0), sync_dist=True)

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer_factory(self.network.named_parameters())
        return scheduled(optimizer, self.learning_rate_factor)

    def denoise(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Give the estimate of x_0, float32 as ``x_t``, at the scalar time ``t``."""
        alpha, sigma = levels(self.schedule, t, x_t)
        with self.autocast():
            output = self(x_t, t.to(x_t.device))
        x0 = to_x0(self.prediction, output.float(), x_t, alpha, sigma)
        return x0.clamp(-1, 1) if self.sampling.clip else x0

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        seeds: Sequence[int],
        labels: Tensor | None = None,
        trace: Callable[[int, Tensor, Tensor], None] | None = None,
    ) -> Tensor:
        """Give ``(n, C, H, W)`` images from noise; image i depends on ``seeds[i]`` only."""
        if len(seeds) != n:
            raise ValueError(f"{n} images need {n} seeds, got {len(seeds)}")
        if labels is not None:
            raise ValueError("this model was trained without labels; sample without labels")
        noise = ImageNoise(seeds, self.device)
        settings = self.sampling
        times = time_grid(self.schedule, settings.steps, settings.spacing)
        draw = SAMPLERS[settings.sampler]
        start = self.schedule.prior_std * noise(*self.image_shape)
        images = draw(
            self.denoise, start, times, self.schedule, noise, trace=trace, **settings.options
        )
        return images.clamp(-1, 1)

    @torch.no_grad()
    def chain(self, seeds: Sequence[int], frames: int = 8) -> Tensor:
        """Give ``(N, frames, C, H, W)``: estimates of x_0 along the chain; the last, the sample."""
        seen: list[Tensor] = []
        last = self.sample(
            len(seeds), seeds=seeds, trace=lambda k, x_t, x0: seen.append(x0.clamp(-1, 1))
        )
        picked = [seen[i] for i in torch.linspace(0, len(seen) - 1, frames - 1).long().tolist()]
        return torch.stack([*picked, last], dim=1)

    def previews(self, batch: Batch) -> dict[str, Tensor]:
        """Give 64 ``samples`` from fixed seeds, and the ``chain`` of the first 8 from noise."""
        seeds = image_seeds(PREVIEW_SEED, range(64))
        return {"samples": self.sample(64, seeds=seeds), "chain": self.chain(seeds[:8])}

    def sampling_record(self) -> dict[str, Any]:
        return {**self.sampling.record(), "prediction": self.prediction}

    def forward_flops(self) -> int:
        """Give the floating-point operations of one forward pass on one image."""
        return self.count_flops(self.network, self.image_shape, torch.ones(1))
