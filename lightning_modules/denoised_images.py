"""What a denoising autoencoder is used for: restoring, features, pictures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from datamodules.base import Batch
from functional.corruption import RANGE
from functional.masking import Noise
from functional.operators import Operator, noise_level
from functional.reconstruction import draw, estimate
from functional.restore_tasks import RestoreTask, restore_task
from functional.seeding import ImageNoise, image_seeds
from lightning_modules.chain_sampler import ChainSampler

PREVIEW_SEED = 1


class DenoisedImages(ChainSampler):
    """A method whose ``forward`` gives, of corrupted images, the output its loss was taken of."""

    capabilities = frozenset({"sample", "restore", "features", "chain", "score"})
    ema_modules = ("network",)

    # Restoring and features

    @property
    def restore_tasks(self) -> tuple[str, ...]:
        """Names of the tasks that the model is trained for."""
        return self.corruption.tasks()

    @property
    def trained_strengths(self) -> dict[str, tuple[float, float]]:
        """The range of noise levels that the model is trained on, as that of ``denoise``."""
        bounds = getattr(self.corruption, "bounds", None)
        return {} if bounds is None else {"denoise": bounds}

    def restore_task(self, name: str) -> RestoreTask:
        """Give the task of that name, e.g. ``denoise-0.5``."""
        return restore_task(name, self.image_shape)

    @torch.no_grad()
    def restore(self, corrupted: Tensor, operator: Operator, *, seeds: Sequence[int]) -> Tensor:
        """Give the images ``(N, C, H, W)`` in [-1, 1] that the network makes of ``corrupted``.

        A conditional model is told the operator's level of noise, none where it has none. Nothing
        is random: no seed is used.
        """
        level = noise_level(operator)
        return self.denoise(corrupted, torch.zeros(len(corrupted)) if level is None else level)

    @torch.no_grad()
    def denoise(self, corrupted: Tensor, level: Tensor) -> Tensor:
        """Give the estimate of the clean images, float32 in [-1, 1]; ``level`` as in forward."""
        return self.estimate(corrupted, level).clamp(-1, 1)

    def estimate(self, corrupted: Tensor, level: Tensor) -> Tensor:
        """Give the mean of the clean images as the network has it, float32, within no range."""
        with self.autocast():
            output = self(corrupted, level.to(corrupted.device))
        return estimate(self.loss_name, output)

    @torch.no_grad()
    def score(self, noisy: Tensor, level: Tensor) -> Tensor:
        """Give (r(x) - x) / sigma^2, the score of images with Gaussian noise (Vincent 2011)."""
        std = (RANGE * level).view(-1, 1, 1, 1)
        return (self.estimate(noisy, level) - noisy) / std**2

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Give the codes ``(N, D)``, float32, of images as they are, uncorrupted."""
        if "features" not in self.capabilities:
            raise NotImplementedError(f"{type(self.network).__name__} has no code to give")
        with self.autocast():
            return self.network.encode(images).float()  # type: ignore[operator,no-any-return]

    def draw(self, corrupted: Tensor, noise: Noise) -> Tensor:
        """Give images drawn from P(x | corrupted x), float32 in [-1, 1]."""
        with self.autocast():
            output = self(corrupted)
        return draw(self.loss_name, output, noise)

    def decode(self, code: Tensor) -> Tensor:
        """Give the images of codes ``(N, D)``, float32."""
        with self.autocast():
            output: Tensor = self.network.decode(code)  # type: ignore[operator]
        return estimate(self.loss_name, output)

    # Pictures

    def previews(self, batch: Batch) -> dict[str, Tensor]:
        """Give rows of clean, corrupted and restored image, of 8 under corruption as in training.

        And where the model samples, 64 ``samples`` from fixed seeds and the ``chain`` of 8.
        """
        clean = batch.images[:8]
        noise = ImageNoise(image_seeds(PREVIEW_SEED, range(len(clean))), clean.device)
        corrupted, operator = self.corrupt(clean, noise)
        restored = self.restore(corrupted, operator, seeds=())
        shown = {"restored": torch.stack([clean, corrupted.clamp(-1, 1), restored], dim=1)}
        seeds = image_seeds(PREVIEW_SEED, range(64))
        if "sample" in self.capabilities:
            shown["samples"] = self.sample(64, seeds=seeds)
        if "chain" in self.capabilities:
            shown["chain"] = self.chain(seeds[:8])
        return shown

    def forward_flops(self) -> int:
        """Give the floating-point operations of one forward pass on one image."""
        return self.count_flops(self.network, self.image_shape, torch.ones(1))
