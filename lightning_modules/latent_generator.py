"""Methods whose generator maps latents to images: how they are sampled and looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from datamodules.base import Batch
from functional.class_labels import labels_of
from functional.latents import paths, slerp, truncate
from functional.seeding import ImageNoise, image_seeds
from lightning_modules.base import ImageModule
from lightning_modules.generation import class_rows

PREVIEW_SEED = 1


class LatentGenerator(ImageModule):
    """A method with a ``generator`` from Gaussian latents ``(N, z_dim)``, and labels, to images.

    Attributes:
        generator: the network; its attributes ``z_dim`` and ``num_classes`` say what it takes.
        truncation: latents longer than ``truncation * sqrt(z_dim)`` are shortened to it, or None.
        sampling_settings: those of the method that ``sampling.KEY=...`` replaces in a trained run.
    """

    capabilities = frozenset({"sample", "interpolate"})
    ema_modules = ("generator",)
    generator: nn.Module
    truncation: float | None = None
    sampling_settings = ("truncation",)

    @property
    def z_dim(self) -> int:
        """Length of a latent."""
        return int(self.generator.z_dim)  # type: ignore[arg-type]

    @property
    def num_classes(self) -> int:
        """Classes that the generator is conditional on; 0 for none."""
        return int(getattr(self.generator, "num_classes", 0))

    def draw(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Give float32 images ``(N, C, H, W)`` of latents ``z``, truncated as configured."""
        with self.autocast():
            given = (truncate(z, self.truncation),) + (() if labels is None else (labels,))
            images: Tensor = self.generator(*given)
        return images.float()

    @torch.no_grad()
    def sample(self, n: int, *, seeds: Sequence[int], labels: Tensor | None = None) -> Tensor:
        """Give ``(n, C, H, W)`` images from noise; image i depends on ``seeds[i]`` only.

        A conditional model asked without labels draws each image's class from its seed.
        """
        if len(seeds) != n:
            raise ValueError(f"{n} images need {n} seeds, got {len(seeds)}")
        labels = labels_of(seeds, labels, self.num_classes)
        z = ImageNoise(seeds, self.device)(self.z_dim)
        return self.draw(z, None if labels is None else labels.to(self.device))

    @torch.no_grad()
    def interpolate(
        self, ends: Sequence[int] | Tensor, weights: Sequence[float], label: int | None = None
    ) -> Tensor:
        """Give ``(K - 1, P, C, H, W)``, along the great circles between the latents of K seeds.

        Of the class ``label``, or of a path's first end where the model has classes.

        Raises:
            ValueError: for images, whose latents a generator does not know.
        """
        if isinstance(ends, Tensor):
            raise ValueError(
                f"{type(self).__name__} knows no latents of given images; leave out input= and it "
                "goes from sample to sample"
            )
        labels = None if label is None else torch.full((len(ends) - 1,), label)
        labels = labels_of(ends[:-1], labels, self.num_classes)
        if labels is not None:
            labels = labels.repeat_interleave(len(weights)).to(self.device)
        z = paths(ImageNoise(ends, self.device)(self.z_dim), weights)
        return self.draw(z.flatten(0, 1), labels).view(*z.shape[:2], *self.image_shape)

    @torch.no_grad()
    def previews(self, batch: Batch) -> dict[str, Tensor]:
        """Give 64 ``samples``, 8 great-circle ``interpolation`` rows, and 32 ``classes`` by row."""
        seeds = image_seeds(PREVIEW_SEED, range(64))
        shown = {"samples": self.sample(64, seeds=seeds)}
        z = ImageNoise(seeds[:16], self.device)(self.z_dim)
        path = torch.stack([slerp(z[:8], z[8:], w) for w in torch.linspace(0, 1, 8).tolist()], 1)
        labels = None
        if self.num_classes:
            labels = torch.arange(8, device=self.device).repeat_interleave(8) % self.num_classes
            shown["classes"] = class_rows(self, seeds[:8], self.num_classes)
        shown["interpolation"] = self.draw(path.flatten(0, 1), labels).view(8, 8, *self.image_shape)
        return shown

    def sampling_record(self) -> dict[str, Any]:
        truncated = "" if self.truncation is None else f", truncation {self.truncation:g}"
        return {"sampler": f"generator{truncated}", "nfe": 1}
