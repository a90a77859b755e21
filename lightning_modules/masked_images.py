"""What a masked autoencoder is used for: restoring, features, images from noise, pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from datamodules.base import Batch
from functional.images import to_float
from functional.masked_pictures import attention_rows, comparison
from functional.masking import MASKS, MaskOperator, draw_mask, keep_count
from functional.patches import (
    hidden_patches,
    patch_statistics,
    patches_of_pixels,
    pixels_of_patches,
    visible_patches,
)
from functional.restore_tasks import RestoreTask, mask_task
from functional.seeding import ImageNoise, image_seeds
from lightning_modules.base import ImageModule, share_buffers
from networks.masked_generation import Generator
from networks.masked_vit import MaskedViT

PREVIEW_SEED = 1
PREVIEW_RATIOS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95)


class MaskedImages(ImageModule):
    """A method with a ``network`` that predicts the hidden patches of images.

    Attributes:
        network: encoder and decoder.
        mask, mask_ratio: the kind of mask and the share hidden that pictures show.
        normalised_targets: whether patches are predicted normalised by their own statistics.
        pooling: what :meth:`features` are, "token" or "mean" (of the patches).
        generator: what makes images from noise, or None.
    """

    capabilities = frozenset({"restore", "features"})
    restore_tasks = ("random-75",)
    feature_settings = ("pooling",)
    network: MaskedViT
    mask: str
    mask_ratio: float
    normalised_targets: bool
    pooling: str
    generator: Generator | None

    def restore_task(self, name: str) -> RestoreTask:
        """Give the task of that name, e.g. ``random-75``, in this model's patches."""
        return mask_task(name, self.network.image_size, self.network.patch)

    @torch.no_grad()
    def restore(self, corrupted: Tensor, operator: MaskOperator, *, seeds: Sequence[int]) -> Tensor:
        """Give the decoder's images ``(N, C, H, W)`` as they are; ``operator.paste`` pastes.

        A patch counts as hidden where any of its pixels is. Nothing is random: no seed is used.

        Raises:
            ValueError: where a mask hides a whole image, or the model predicts normalised patches.
        """
        if self.normalised_targets:
            raise ValueError(
                "this model predicts normalised patches and does not know their brightness; "
                "train with method.normalised_targets=false to restore"
            )
        mask = operator.mask.to(corrupted.device).expand(len(corrupted), -1, -1, -1)
        hidden = patches_of_pixels(mask, self.network.patch)
        counts, restored = hidden.sum(dim=1), torch.empty_like(corrupted)
        for count in sorted(set(counts.tolist())):
            rows = counts == count
            restored[rows] = self.predict(corrupted[rows], visible_patches(hidden[rows]))
        return restored

    @torch.no_grad()
    def predict(self, images: Tensor, visible: Tensor) -> Tensor:
        """Give images ``(N, C, H, W)`` in [-1, 1] that the decoder makes of the visible patches.

        With normalised targets the statistics of the true patches are put back: for display only.
        """
        with self.autocast():
            patches = self.network(images, visible).float()
        if self.normalised_targets:
            patches = patch_statistics(self.network.targets(images)).undo(patches)
        return self.network.to_images(patches).clamp(-1, 1)

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Give the class token or the mean of the patches ``(N, D)``, float32, of whole images."""
        with self.autocast():
            return self.network.features(images, self.pooling).float()

    # Images from noise

    @torch.no_grad()
    def sample(self, n: int, *, seeds: Sequence[int], labels: Tensor | None = None) -> Tensor:
        """Give ``(n, C, H, W)`` images from noise; image i depends on ``seeds[i]`` only.

        Raises:
            ValueError: where the model was trained without generation, or its density is of other
                weights than it holds.
        """
        if self.generator is None:
            raise ValueError(self.lacking("sample"))
        if len(seeds) != n:
            raise ValueError(f"{n} images need {n} seeds, got {len(seeds)}")
        if labels is not None:
            raise ValueError("this model was trained without labels; sample without labels")
        self.generator.check_fitted_at(self.images_seen)
        with self.autocast():
            return self.generator.sample(self.network, ImageNoise(seeds, self.device))

    def lacking(self, capability: str) -> str:
        if capability != "sample":
            return super().lacking(capability)
        return (
            "this masked autoencoder was trained to restore and not to make images from noise "
            "(method.generation=none); train one with method.generation=iterative or latent"
        )

    def sampling_record(self) -> dict[str, Any]:
        return {} if self.generator is None else self.generator.record()

    def on_validation_start(self) -> None:
        self._fit_generator()

    def on_test_start(self) -> None:
        self._fit_generator()

    def _fit_generator(self) -> None:
        """Fit the generator's density to training images under the weights of this moment."""
        if self.generator is None or self.generator.fitted_at == self.images_seen:
            return
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        # Every k-th image: those of a folder come class by class.
        step = -(-data.split_size("train") // self.generator.settings.images)
        pixels = data.uint8_batches("train", self.chunk_size, 0, step)
        chunks = (to_float(chunk.to(self.device)) for chunk in pixels)
        with self.autocast():
            self.generator.fit(self.network, chunks, self.images_seen)
        share_buffers(self.generator)

    # Pictures

    def previews(self, batch: Batch) -> dict[str, Tensor]:
        """Give rows of masked image, reconstruction, the same with visible pixels pasted, original.

        Of 8 images; of one under mask ratios from 0.5 to 0.95; of one under each kind of mask. And
        the original beside the class token's attention in the last block, head by head. And 64
        ``samples``, where there is a generator.
        """
        images, grid = batch.images[:8], self.network.grid
        seeds = image_seeds(PREVIEW_SEED, range(64))
        # More than half a patch stays visible where the number of hidden ones is rounded.
        ratios = [r for r in PREVIEW_RATIOS if self.network.patches * (1 - r) > 0.5]

        def under(kind: str, ratio: float, n: int = 1) -> Tensor:
            noise = ImageNoise(seeds[: min(n, len(images))], images.device)
            return self._compared(images[:n], draw_mask(kind, grid, ratio, noise))

        with torch.no_grad(), self.autocast():
            maps = self.network.attention(images).float()
        shown = {
            "reconstruction": under(self.mask, self.mask_ratio, n=8),
            "mask_ratios": torch.cat([under(self.mask, ratio) for ratio in ratios]),
            "mask_kinds": torch.cat([under(kind, self.mask_ratio) for kind in MASKS]),
            "attention": attention_rows(images, maps, self.network.patch),
        }
        if self.generator is not None:
            shown["samples"] = self.sample(64, seeds=seeds)
        return shown

    def _compared(self, images: Tensor, visible: Tensor) -> Tensor:
        return comparison(images, self.predict(images, visible), self.hidden_pixels(visible))

    def hidden_pixels(self, visible: Tensor) -> Tensor:
        """Give bool ``(N, 1, H, W)``: the pixels of all patches but the visible ones."""
        hidden = hidden_patches(visible, self.network.patches)
        return pixels_of_patches(hidden, self.network.patch, self.network.image_size)

    def forward_flops(self) -> int:
        """Give the floating-point operations of one pass in training, on one image."""
        visible = torch.arange(keep_count(self.network.patches, self.mask_ratio))[None]
        return self.count_flops(self.network, self.image_shape, visible)
