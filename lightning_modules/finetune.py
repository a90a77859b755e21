"""Fine-tuning a masked autoencoder's encoder on labels, whole or in part, or from scratch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from datamodules.base import Batch
from functional.layer_decay import layer_of, layer_scale, scale_groups, trained_names
from functional.supervised_augment import SupervisedAugment
from functional.weight_decay import exempt_from_decay
from lightning_modules.base import ImageModule
from lightning_modules.feature_bank import keep_labelled, score_key
from lightning_modules.optimisation import batch_factor, scheduled
from lightning_modules.pretrained import Pretrained
from networks.masked_vit import MaskedViT
from networks.vit_classifier import ViTClassifier


class Finetune(ImageModule):
    """A ViT that learns labels from a run's weights; without a run, the same one from scratch.

    Scores are the share of right answers: ``probe/finetune/top1``, from scratch
    ``probe/scratch/top1``, with ``@labels`` where only some labels are used. The weights of the end
    are scored on the test images, once.

    Args:
        encoder: a masked autoencoder.
        num_classes: of the data.
        optimizer: makes the optimiser from named parameters; its learning rate is for
            ``base_batch`` images. Biases, norms, tokens and positions do not decay.
        base_batch: see above; None leaves the learning rate.
        layer_decay: factor on the learning rate from each layer to the one below it, in (0, 1].
        blocks: the last blocks that are trained beside the head, half a block being its MLP alone;
            None trains everything.
        drop_path: share of residual branches left out at the last block.
        pooling: what the head sees, "mean" or "token".
        augment: of training images and labels.
        labels: how many training images have labels, equally many of each class; None is all.
        labels_seed: which ones.
        warmup_steps, decay: of the learning rate; the decay spans the budget of the run.

    Raises:
        ValueError: for a model that is no masked autoencoder, or settings that cannot be.
    """

    capabilities = frozenset({"features"})

    def __init__(
        self,
        encoder: Pretrained,
        num_classes: int,
        optimizer: Callable[[Iterable[tuple[str, nn.Parameter]]], Optimizer],
        base_batch: int | None,
        layer_decay: float,
        blocks: float | None,
        drop_path: float,
        pooling: str,
        augment: SupervisedAugment,
        labels: int | None,
        labels_seed: int,
        warmup_steps: int,
        decay: str,
    ) -> None:
        super().__init__()
        network = getattr(encoder.model, "network", None)
        if not isinstance(network, MaskedViT):
            raise ValueError(
                f"{type(encoder.model).__name__} of {encoder.origin} is no masked autoencoder, the "
                "one method that is fine-tuned; take its features by method=probe"
            )
        if num_classes < 2:
            raise ValueError(f"{num_classes=}: fine-tuning needs labels of 2 classes or more")
        self.encoder = encoder.model.requires_grad_(False)
        self.kind = "finetune" if encoder.trained else "scratch"
        self.has_run = encoder.run is not None
        self.classifier = ViTClassifier(network, num_classes, pooling, drop_path)
        self.num_classes, self.augment = num_classes, augment
        self.optimizer_factory, self.base_batch = optimizer, base_batch
        self.labels, self.labels_seed = labels, labels_seed
        self.learning_rate_factor = self.learning_rate_lambda(warmup_steps, decay)
        self.image_shape = self.encoder.image_shape
        self.scales = self._choose(layer_decay, blocks)
        self.hits: list[Tensor] = []

    def _choose(self, layer_decay: float, blocks: float | None) -> dict[str, float]:
        """Let the chosen parameters learn; give their factors on the learning rate by name."""
        named, depth = dict(self.classifier.trainable()), self.classifier.depth
        inner = [name for name in named if not name.startswith("head.") and name != "pos_embed"]
        chosen = {*trained_names(inner, depth, blocks), "head.weight", "head.bias"}
        for name in chosen:
            named[name].requires_grad_(True)
        return {
            name: layer_scale(layer_of(name, depth), depth, layer_decay)
            for name in named
            if name in chosen
        }

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Give what the head sees, ``(N, D)`` float32."""
        with self.autocast():
            return self.classifier.pooled(images).float()

    def setup(self, stage: str) -> None:
        """Keep the labels that are to be learnt from; refuse data without labels."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        keep_labelled(data, self.labels, self.num_classes, self.labels_seed)

    def begin(self) -> None:
        """Load a file of weights that the model itself begins with; a run's are there."""
        if not self.has_run:
            self.encoder.begin()

    def forward(self, images: Tensor) -> Tensor:
        """Give logits ``(N, num_classes)`` of images ``(N, C, H, W)`` in [-1, 1]."""
        logits: Tensor = self.classifier(images)
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, targets = self.augment(batch.images, batch.labels, self.num_classes)
        loss = cross_entropy(self(images).float(), targets)
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        named = [(n, p) for n, p in self.classifier.trainable() if n in self.scales]
        optimizer = exempt_from_decay(self.optimizer_factory(named), named)
        optimizer = scale_groups(optimizer, named, self.scales)
        for group in optimizer.param_groups:
            group["lr"] *= batch_factor(self, self.base_batch)
        return scheduled(optimizer, self.learning_rate_factor)

    # Scores

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._count(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._count(batch)

    def _count(self, batch: Batch) -> None:
        right = self(batch.images).argmax(dim=1) == batch.labels
        self.hits.append(torch.stack([right.sum(), torch.tensor(len(right), device=right.device)]))

    def on_validation_epoch_end(self) -> None:
        self._report()

    def on_test_epoch_end(self) -> None:
        self._report()

    def _report(self) -> None:
        hits, self.hits = self.hits, []
        if hits:
            right, n = self.trainer.strategy.reduce(torch.stack(hits).sum(0), reduce_op="sum")
            self.report(score_key(self.kind, self.labels), float(right) / float(n))

    def forward_flops(self) -> int:
        """Give the floating-point operations of one forward pass on one image."""
        return self.count_flops(self, self.image_shape)
