"""What a stack of denoising autoencoders gives back, how it is scored, and how it looks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from datamodules.base import Batch
from functional.corruption import Corruption
from functional.filters import filter_pictures, filter_shape
from functional.masking import Noise
from functional.operators import chosen_pixels
from functional.reconstruction import emphasised, entry_losses, estimate
from functional.seeding import ImageNoise, image_seeds
from lightning_modules.base import ImageModule
from lightning_modules.feature_bank import score_key
from networks.stacked_autoencoder import StackedAutoencoder

PREVIEW_SEED, EVALUATION_SEED = 1, 0
PREVIEW_FILTERS = 100


class StackedImages(ImageModule):
    """A method that trains a stack's layers one after the other, then all of it on labels.

    Attributes:
        network: the layers and the classifier.
        corruption: of the input of each layer.
        loss_name, alpha, beta: see ``functional.reconstruction``.
        pretrain_images: images that each layer is trained on.
        labels: how many training images have labels; None is all.
    """

    capabilities = frozenset({"features"})
    network: StackedAutoencoder
    corruption: Corruption
    loss_name: str
    alpha: float
    beta: float
    pretrain_images: int
    labels: int | None

    def layer_at(self, images: int) -> int | None:
        """Give the layer that trains after ``images`` images, from 0; None: all, on labels."""
        if not self.pretrain_images or images >= self.network.layers * self.pretrain_images:
            return None
        return images // self.pretrain_images

    # Reconstruction

    def corrupted(self, layer: int, images: Tensor, noise: Noise) -> tuple[Tensor, Tensor, Any]:
        """Give what ``layer`` is to give back, what it is shown, and the operator between them."""
        with torch.no_grad():
            clean = self.network.values(layer, images)
            operator = self.corruption.draw(noise, self.network.shapes[layer])
            return clean, operator.apply(clean), operator

    def layer_losses(self, layer: int, images: Tensor, noise: Noise) -> Tensor:
        """Give the reconstruction loss ``(N,)`` of ``layer``; no gradient reaches those below."""
        clean, shown, operator = self.corrupted(layer, images, noise)
        output = self.network.decode(layer, self.network.encode(layer, shown))
        losses = entry_losses(self.loss_name, output, clean)
        means = emphasised(losses, chosen_pixels(operator), self.alpha, self.beta)
        return means * clean[0].numel()

    # Evaluation: corruption is a function of the image's index alone

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._score("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._score("test", batch)

    def _score(self, split: str, batch: Batch) -> None:
        layer = self.layer_at(self.images_seen)
        scores = {}
        for trained in range(self.network.layers if layer is None else layer + 1):
            noise = ImageNoise(image_seeds(EVALUATION_SEED, batch.indices.tolist()), self.device)
            losses = self.layer_losses(trained, batch.images, noise)
            scores[f"reconstruction_{trained + 1}"] = losses.mean()
        if layer is None:
            wrong = self.network(batch.images).argmax(dim=1) != batch.labels
            scores["error"] = 100 * wrong.float().mean()
        for name, value in scores.items():
            self.log(f"{split}/{name}", value, batch_size=len(batch.images), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        self._report("val")
        for name, values in filter_shape(self.network.filters())._asdict().items():
            self.log(f"val/filter_{name}", values.mean(), rank_zero_only=True)

    def on_test_epoch_end(self) -> None:
        self._report("test")

    def _report(self, split: str) -> None:
        """Keep the error, by which a checkpoint may be the best, and report what a probe would."""
        error = self.trainer.callback_metrics.get(f"{split}/error")
        if error is not None:
            self.scores[f"{split}/error"] = float(error)
            kind = "finetune" if self.pretrain_images else "scratch"
            self.report(score_key(kind, self.labels), 1 - float(error) / 100)

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Give the code ``(N, D)`` of the highest layer, float32, of clean images."""
        with self.autocast():
            return self.network.features(images).float()

    @torch.no_grad()
    def previews(self, batch: Batch) -> dict[str, Tensor]:
        """Give the first 100 filters, and rows of clean, corrupted, and restored by layer 1."""
        images = batch.images[:8]
        noise = ImageNoise(image_seeds(PREVIEW_SEED, range(len(images))), self.device)
        clean, shown, _ = self.corrupted(0, images, noise)
        output = self.network.decode(0, self.network.encode(0, shown))
        restored = estimate(self.loss_name, output).clamp(-1, 1)
        return {
            "filters": filter_pictures(self.network.filters()[:PREVIEW_FILTERS]),
            "restored": torch.stack([clean, shown.clamp(-1, 1), restored], dim=1),
        }

    def forward_flops(self) -> int:
        """Give the floating-point operations of one forward pass on one image."""
        return self.count_flops(self.network, self.image_shape)
