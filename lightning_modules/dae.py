"""Denoising autoencoders (Vincent et al. 2008, 2010): a clean image from a corrupted one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from datamodules.base import Batch
from functional.chain_sampling import ChainSampling
from functional.corruption import RANGE, Corruption
from functional.masking import BatchNoise, Noise
from functional.operators import Operator, chosen_pixels, noise_level
from functional.patches import psnr
from functional.preconditioning import level_weights, preconditioned
from functional.reconstruction import (
    check_density,
    check_emphasis,
    check_output,
    draw,
    emphasised,
    entry_losses,
    estimate,
    outputs_per_channel,
)
from functional.seeding import ImageNoise, image_seeds
from lightning_modules.denoised_images import DenoisedImages
from lightning_modules.optimisation import scheduled

EVALUATION_SEED = 0


class DAE(DenoisedImages):
    """A denoising autoencoder: a network, a corruption, a loss, and chains that sample.

    Args:
        network: maps corrupted images ``(N, C, H, W)`` and a level ``(N,)`` to its output; one with
            ``encode`` and ``decode`` has features.
        corruption: what the images are corrupted by; the target is the clean image.
        loss: a name of ``functional.reconstruction.LOSSES``.
        alpha, beta: weights of corrupted and of intact entries in the loss; 1 and 1 is the plain
            one, 1 and 0 full emphasis (Vincent et al. 2010).
        conditional: tell the network the level of Gaussian noise, and scale its input and output
            by it; the squared errors of all levels then count alike.
        walkback: draws from P(x | corrupted x), from the image on, each of which is corrupted and
            learnt to be walked back from as well (Bengio et al. 2013); 0 is plain training.
        sampling: how images are drawn from noise.
        optimizer: makes the optimiser from named parameters.
        warmup_steps, decay: of the learning rate; the decay spans the budget of the run.
        channels, image_size: of the images.
        compile_network: compile the network; the keys of checkpoints stay as they are.

    Raises:
        ValueError: for settings that do not go together.
    """

    def __init__(
        self,
        network: nn.Module,
        corruption: Corruption,
        loss: str,
        alpha: float,
        beta: float,
        conditional: bool,
        walkback: int,
        sampling: ChainSampling,
        optimizer: Callable[[Iterable[tuple[str, nn.Parameter]]], Optimizer],
        warmup_steps: int,
        decay: str,
        channels: int,
        image_size: int,
        compile_network: bool = False,
    ) -> None:
        super().__init__()
        self.image_shape = (channels, image_size, image_size)
        self.network, self.corruption, self.optimizer_factory = network, corruption, optimizer
        self.loss_name, self.alpha, self.beta = loss, alpha, beta
        self.conditional, self.walkback, self.sampling = conditional, walkback, sampling
        self.learning_rate_factor = self.learning_rate_lambda(warmup_steps, decay)
        if not hasattr(network, "encode"):
            self.capabilities = self.capabilities - {"features"}
        if loss != "mse" or not corruption.learns_score(conditional):
            self.capabilities = self.capabilities - {"score"}
        self._check()
        self.prepare_sampling()
        if compile_network:
            self.network.compile()

    @torch.no_grad()
    def _check(self) -> None:
        """Refuse settings that do not go together, with a ValueError."""
        outputs_per_channel(self.loss_name)
        check_emphasis(self.alpha, self.beta)
        if self.walkback < 0:
            raise ValueError(f"walkback={self.walkback} draws; expected 0 or more")
        if self.walkback:
            check_density(self.loss_name)
        self.corruption.check(self.image_shape)
        operator = self.corruption.draw(ImageNoise([0]), self.image_shape)
        if self.conditional:
            self._check_conditional(operator)
        modes = [(part, part.training) for part in self.network.modules()]
        self.network.eval()
        output = self(torch.zeros(1, *self.image_shape), noise_level(operator))
        check_output(self.loss_name, tuple(output.shape[1:]), self.image_shape)
        for part, mode in modes:
            part.training = mode

    def _check_conditional(self, operator: Operator) -> None:
        if noise_level(operator) is None or self.loss_name not in ("mse", "l1") or self.walkback:
            raise ValueError(
                f"conditional=true tells the network the level of Gaussian noise, and goes with "
                f"loss mse or l1 and walkback=0; here the corruption is {self.corruption.name}, "
                f"the loss {self.loss_name}, walkback={self.walkback}. Set method.conditional=false"
            )
        if not getattr(self.network, "takes_level", True):
            raise ValueError(
                f"{type(self.network).__name__} cannot be told a level of noise; set "
                "method.conditional=false, or choose denoiser@method.network=unet"
            )

    # Training

    def forward(self, corrupted: Tensor, level: Tensor | None = None) -> Tensor:
        """Give the output of which the loss is taken, float32.

        Args:
            corrupted: images ``(N, C, H, W)``.
            level: of their Gaussian noise for images in [0, 1], ``(N,)``; conditional models need
                it, others take no notice of it.
        """
        if self.conditional:
            assert level is not None
            return preconditioned(self.network, corrupted, RANGE * level)
        output: Tensor = self.network(corrupted, corrupted.new_zeros(len(corrupted)))
        return output.float()

    def loss(self, output: Tensor, clean: Tensor, operator: Operator) -> Tensor:
        """Give the loss per image, ``(N,)``, of the output for what ``operator`` corrupted."""
        entries = entry_losses(self.loss_name, output, clean)
        losses = emphasised(entries, chosen_pixels(operator), self.alpha, self.beta)
        level = noise_level(operator)
        if not self.conditional or level is None:
            return losses
        return losses * level_weights(RANGE * level)

    def corrupt(self, images: Tensor, noise: Noise) -> tuple[Tensor, Operator]:
        """Give ``images`` corrupted as in training, and what corrupted them."""
        operator = self.corruption.draw(noise, self.image_shape)
        return operator.apply(images), operator

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        clean, noise = batch.images, BatchNoise(len(batch.images), batch.images.device)
        start, losses = clean, []
        for _ in range(self.walkback + 1):
            corrupted, operator = self.corrupt(start, noise)
            output = self(corrupted, noise_level(operator))
            losses.append(self.loss(output, clean, operator).mean())
            if len(losses) <= self.walkback:
                start = draw(self.loss_name, output.detach(), noise)
        loss = torch.stack(losses).mean()
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer_factory(self.network.named_parameters())
        return scheduled(optimizer, self.learning_rate_factor)

    # Evaluation: the corruption is a function of the image's index alone

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._log_fixed("val", batch)

    def on_validation_epoch_end(self) -> None:
        """Report the loss, so that a checkpoint can be the best by it."""
        loss = self.trainer.callback_metrics.get("val/loss")
        if loss is not None:
            self.scores["val/loss"] = float(loss)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._log_fixed("test", batch)

    def _log_fixed(self, split: str, batch: Batch) -> None:
        clean = batch.images
        noise = ImageNoise(image_seeds(EVALUATION_SEED, batch.indices.tolist()), clean.device)
        corrupted, operator = self.corrupt(clean, noise)
        output = self(corrupted, noise_level(operator))
        everywhere = torch.ones_like(clean[:, :1], dtype=torch.bool)
        restored = estimate(self.loss_name, output).clamp(-1, 1)
        scores = {
            "loss": self.loss(output, clean, operator),
            "psnr": psnr(restored, clean, everywhere),
        }
        for name, values in scores.items():
            self.log(f"{split}/{name}", values.mean(), batch_size=len(clean), sync_dist=True)
