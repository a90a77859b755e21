"""Masked autoencoders (He et al. 2022): hide most patches, encode the rest, predict the hidden."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from datamodules.base import Batch
from functional.iterative_masking import check_range, cosine_ratio
from functional.masking import BatchNoise, Noise, draw_mask, keep_count
from functional.patches import (
    hidden_patches,
    patch_statistics,
    psnr,
    reconstruction_loss,
)
from functional.seeding import ImageNoise, image_seeds
from functional.weight_decay import exempt_from_decay
from lightning_modules.masked_images import MaskedImages
from lightning_modules.optimisation import batch_factor, scheduled
from networks.mae_checkpoint import load_weights, save_encoder
from networks.masked_generation import Sampling, check_generation, make_generator
from networks.masked_vit import MaskedViT

EVALUATION_SEED = 0


class MAE(MaskedImages):
    """A masked autoencoder; writes its encoder as ``encoder.safetensors`` to the run folder.

    Args:
        network: encoder and decoder.
        optimizer: makes the optimiser from named parameters; its learning rate is for
            ``base_batch`` images. Biases, norms, tokens and positions do not decay.
        mask: a name of ``functional.masking.MASKS``.
        mask_ratio: share of the patches that is hidden, in [0, 1).
        repeats: masks drawn for each image of a batch (repeated sampling, Hoffer et al. 2020).
        normalised_targets: predict each patch normalised by its own mean and variance. Such a
            model cannot restore: the statistics of a hidden patch are not known.
        loss_on_all: count visible patches in the loss too (an ablation).
        pooling: what :meth:`features` are, "token" or "mean" (of the patches).
        base_batch: images per optimiser step that the learning rate is meant for, 256 in the paper;
            it grows in proportion to the real number. None leaves it.
        warmup_steps, decay: of the learning rate; the decay spans the budget of the run.
        initial_weights: file in the authors' layout or timm's that training begins from, or None.
        compile_network: compile the network; the keys of checkpoints stay as they are.
        ratio_range: smallest and largest mask ratio of training, drawn for each batch by
            ``functional.iterative_masking.cosine_ratio``; None for ``mask_ratio`` always, which
            evaluation and pictures keep in either case.
        generation: how images are made from noise, a name of
            ``networks.masked_generation.GENERATIONS``; "none" in the paper.
        sampling: its settings; not needed where there is none.
    """

    def __init__(
        self,
        network: MaskedViT,
        optimizer: Callable[[Iterable[tuple[str, nn.Parameter]]], Optimizer],
        mask: str,
        mask_ratio: float,
        repeats: int,
        normalised_targets: bool,
        loss_on_all: bool,
        pooling: str,
        base_batch: int | None,
        warmup_steps: int,
        decay: str,
        initial_weights: str | None = None,
        compile_network: bool = False,
        ratio_range: Sequence[float] | None = None,
        generation: str = "none",
        sampling: Sampling | None = None,
    ) -> None:
        super().__init__()
        draw_mask(mask, network.grid, mask_ratio, BatchNoise(1, "cpu"))
        network.check_pooling(pooling)
        if repeats < 1 or (base_batch is not None and base_batch < 1):
            raise ValueError(f"{repeats=} and {base_batch=}: expected 1 or more")
        if keep_count(network.patches, mask_ratio) == network.patches and not loss_on_all:
            raise ValueError(f"{mask_ratio=} hides no patch to learn from; set loss_on_all=True")
        self.network, self.optimizer_factory = network, optimizer
        self.mask, self.mask_ratio, self.repeats = mask, mask_ratio, repeats
        self.ratio_range = None if ratio_range is None else check_range(ratio_range)
        self.normalised_targets, self.loss_on_all = normalised_targets, loss_on_all
        self.pooling, self.base_batch = pooling, base_batch
        self.learning_rate_factor = self.learning_rate_lambda(warmup_steps, decay)
        self.image_shape = (network.channels, *network.image_size)
        self.initial_weights = initial_weights
        check_generation(generation, normalised_targets, self.ratio_range, loss_on_all)
        self.generator = make_generator(generation, network, sampling, mask, mask_ratio)
        if self.generator is not None:
            self.capabilities = self.capabilities | {"sample"}
        if normalised_targets:
            self.capabilities = self.capabilities - {"restore"}
        if compile_network:
            self.network.compile()

    def begin(self) -> None:
        """Load ``initial_weights``."""
        if self.initial_weights:
            load_weights(self.network, Path(self.initial_weights))

    # Training

    def draw(self, noise: Noise, ratio: float | None = None) -> Tensor:
        """Give places ``(N, K)`` of visible patches; None is ``mask_ratio``."""
        ratio = self.mask_ratio if ratio is None else ratio
        return draw_mask(self.mask, self.network.grid, ratio, noise)

    def training_ratio(self) -> float:
        """Give the mask ratio of this step: where there is a range, one for the whole batch."""
        if self.ratio_range is None:
            return self.mask_ratio
        return cosine_ratio(self.ratio_range, self.network.patches, float(torch.rand(())))

    def loss(self, predicted: Tensor, images: Tensor, visible: Tensor) -> Tensor:
        """Give the mean squared error per image, ``(N,)``, of predicted patches ``(N, L, D)``."""
        target = self.network.targets(images)
        if self.normalised_targets:
            target = patch_statistics(target).normalise(target)
        hidden = None if self.loss_on_all else hidden_patches(visible, self.network.patches)
        return reconstruction_loss(predicted.float(), target, hidden)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images = batch.images
        if self.repeats > 1:
            images = images.repeat_interleave(self.repeats, dim=0)
        ratio = self.training_ratio()
        visible = self.draw(BatchNoise(len(images), images.device), ratio)
        loss = self.loss(self.network(images, visible), images, visible).mean()
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        named = [(n, p) for n, p in self.network.named_parameters() if p.requires_grad]
        optimizer = exempt_from_decay(self.optimizer_factory(named), named)
        for group in optimizer.param_groups:
            group["lr"] *= batch_factor(self, self.base_batch)
        return scheduled(optimizer, self.learning_rate_factor)

    def on_train_end(self) -> None:
        """Write the encoder for timm, once the budget is used up."""
        if self.trainer.is_global_zero and self.progress >= 1.0:
            save_encoder(self.network, Path(self.trainer.default_root_dir, "encoder.safetensors"))

    # Evaluation: masks are a function of the image's index alone

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
        images, seeds = batch.images, image_seeds(EVALUATION_SEED, batch.indices.tolist())
        visible = self.draw(ImageNoise(seeds, images.device))
        predicted = self.network(images, visible)
        scores = {"loss": self.loss(predicted, images, visible)}
        if "restore" in self.capabilities and visible.shape[1] < self.network.patches:
            restored = self.network.to_images(predicted).clamp(-1, 1)
            scores["masked_psnr"] = psnr(restored, images, self.hidden_pixels(visible))
        for name, values in scores.items():
            self.log(f"{split}/{name}", values.mean(), batch_size=len(images), sync_dist=True)
