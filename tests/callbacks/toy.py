"""A method with batch normalisation that learns in milliseconds, and may go wrong when told to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from datamodules.base import Batch
from functional.seeding import ImageNoise
from lightning_modules.base import ImageModule


class Toy(ImageModule):
    """Predicts an image from itself with noise.

    bad_step: the step at which the loss becomes NaN
    fails_at: the step at which validation raises
    """

    capabilities = frozenset({"sample"})
    ema_modules = ("network",)
    image_shape = (1, 8, 8)

    def __init__(self, bad_step: int = -1, fails_at: int = -1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.network: nn.Module = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 3, padding=1)
        )
        self.other = nn.Linear(2, 2)
        self.bad_step, self.fails_at = bad_step, fails_at
        self.trained = 0

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.trained += 1
        noisy = batch.images + 0.5 * torch.randn_like(batch.images)
        loss: Tensor = (self.network(noisy) - batch.images).square().mean()
        loss = loss * float("nan") if self.steps == self.bad_step else loss
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        if self.steps == self.fails_at:
            raise OSError("the disk went away")
        loss = (self.network(batch.images) - batch.images).square().mean()
        self.log("val/loss", loss, batch_size=len(batch.images))

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        loss = (self.network(batch.images) - batch.images).square().mean()
        self.log("test/loss", loss, batch_size=len(batch.images))

    def sample(self, n: int, *, seeds: Sequence[int], labels: Tensor | None = None) -> Tensor:
        images: Tensor = self.network(ImageNoise(seeds)(*self.image_shape))
        return images.clamp(-1, 1)

    def previews(self, batch: Batch) -> dict[str, Tensor]:
        return {"samples": self.sample(4, seeds=range(4)), "clean": batch.images[:2]}

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.05)


def weights(module: nn.Module) -> dict[str, Tensor]:
    """A copy of all weights and buffers."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether two sets of weights are equal to the bit."""
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)
