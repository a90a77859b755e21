"""A supervised classifier; its features are the feature space of FID on Fashion-MNIST."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad
from torch.optim import Optimizer

from datamodules.base import Batch
from lightning_modules.base import ImageModule
from lightning_modules.optimisation import scheduled
from networks.cnn_features import CNNFeatures


class Classifier(ImageModule):
    """Cross-entropy on labels; writes its weights as ``features.safetensors`` to the run folder.

    Args:
        network: gives features and logits.
        optimizer: makes the optimiser from parameters.
        shift: most pixels by which a training image is moved, in each direction.
        warmup_steps, decay: of the learning rate; the decay spans the budget of the run.
        channels, image_size: of the images.
    """

    capabilities = frozenset({"features"})

    def __init__(
        self,
        network: CNNFeatures,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        shift: int,
        warmup_steps: int,
        decay: str,
        channels: int,
        image_size: int,
    ) -> None:
        super().__init__()
        if not 0 <= shift < image_size:
            raise ValueError(f"shift={shift} must be in 0 ... {image_size - 1} pixels")
        self.network = network.to(memory_format=torch.channels_last)
        self.optimizer_factory = optimizer
        self.shift = shift
        self.learning_rate_factor = self.learning_rate_lambda(warmup_steps, decay)
        self.image_shape = (channels, image_size, image_size)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        logits = self.network(shifted(batch.images, self.shift))[1]
        loss = cross_entropy(logits.float(), batch.labels)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._log_accuracy("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._log_accuracy("test", batch)

    def _log_accuracy(self, split: str, batch: Batch) -> None:
        right = self.network(batch.images)[1].argmax(dim=1) == batch.labels
        self.log(f"{split}/accuracy", right.float().mean(), batch_size=len(right), sync_dist=True)

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer_factory(self.network.parameters())
        return scheduled(optimizer, self.learning_rate_factor)

    def on_train_end(self) -> None:
        """Write the weights that ``metrics.extractors`` reads, once the budget is used up."""
        if self.trainer.is_global_zero and self.progress >= 1.0:
            path = Path(self.trainer.default_root_dir) / "features.safetensors"
            save_file(self.network.half_precision_state(), path)

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Give the penultimate features ``(N, dim)`` of ``images``."""
        features: Tensor = self.network(images)[0]
        return features

    def forward_flops(self) -> int:
        """Give the floating-point operations of one forward pass on one image."""
        training = self.network.training
        self.network.eval()
        try:
            return self.count_flops(self.network, self.image_shape)
        finally:
            self.network.train(training)


def shifted(images: Tensor, most: int) -> Tensor:
    """Give each image moved by random whole pixels of its own, up to ``most``, on black (-1)."""
    n, _, height, width = images.shape
    padded = pad(images, (most,) * 4, value=-1.0)
    corner = torch.randint(0, 2 * most + 1, (2, n, 1), device=images.device)
    rows = corner[0] + torch.arange(height, device=images.device)
    columns = corner[1] + torch.arange(width, device=images.device)
    image = torch.arange(n, device=images.device)[:, None, None]
    # Indexed axes come first: (n, height, width, channels)
    moved = padded[image, :, rows[:, :, None], columns[:, None, :]]
    return moved.movedim(3, 1)
