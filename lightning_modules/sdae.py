"""Stacked denoising autoencoders (Vincent et al. 2010): layer by layer without labels, then all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from datamodules.base import Batch, ImageDataModule
from functional.corruption import Corruption
from functional.label_subset import balanced_subset, shuffled_positions
from functional.learning_rate import learning_rate_factor
from functional.masking import BatchNoise
from functional.reconstruction import outputs_per_channel
from lightning_modules.feature_bank import split_labels
from lightning_modules.optimisation import scheduled
from lightning_modules.stacked_images import StackedImages
from networks.stacked_autoencoder import StackedAutoencoder


class SDAE(StackedImages):
    """A stack of denoising autoencoders, trained greedily, then fine-tuned on labels.

    Phase k trains layer k alone for ``pretrain_images`` images: it takes the clean code of the
    layers below, which stay as they are, corrupts it, and learns to give the clean code back. When
    all layers are done, the rest of the budget trains everything on labels. A corruption of
    strength 0 makes a plain stacked autoencoder, ``pretrain_images=0`` a plain perceptron.

    Scores: ``val/reconstruction_<k>``, the loss of layer k; ``val/filter_extent`` and the like, the
    means of ``functional.filters.FilterShape``; and once it learns labels ``val/error`` and
    ``test/error`` in per cent, ``probe/finetune/top1`` (``probe/scratch/top1`` without
    pre-training; ``@labels`` where only some labels are used).

    Args:
        network: the layers and the classifier.
        corruption: of the input of each layer while it is pre-trained.
        loss: a name of ``functional.reconstruction.LOSSES``; of an image, the sum over entries.
        alpha, beta: weights of corrupted and of intact entries in the loss; 1 and 1 is the plain.
        pretrain_images: images that each layer is pre-trained on.
        pretrain_lr: learning rate until then; that of the optimiser is for the labels.
        optimizer: makes the optimiser from parameters; the labels begin with a fresh one.
        decay: of the learning rate over each phase, "constant", "linear" or "cosine".
        labels: how many training images have labels, equally many of each class; None is all.
            Pre-training sees all images.
        labels_seed: which ones.

    Raises:
        ValueError: for settings that do not go together.
    """

    def __init__(
        self,
        network: StackedAutoencoder,
        corruption: Corruption,
        loss: str,
        alpha: float,
        beta: float,
        pretrain_images: int,
        pretrain_lr: float,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        decay: str,
        labels: int | None,
        labels_seed: int,
    ) -> None:
        super().__init__()
        self.network, self.corruption, self.loss_name = network, corruption, loss
        self.alpha, self.beta = alpha, beta
        self.pretrain_images, self.pretrain_lr = pretrain_images, pretrain_lr
        self.optimizer_factory, self.decay = optimizer, decay
        self.labels, self.labels_seed = labels, labels_seed
        self.image_shape = network.shapes[0]
        self.labelled: Tensor | None = None
        self.finetuned_from: float | None = None
        self._check()

    def _check(self) -> None:
        """Refuse settings that do not go together, with a ValueError."""
        learning_rate_factor(0, 0, 0.0, self.decay)
        if min(self.pretrain_images, self.pretrain_lr) < 0:
            raise ValueError(
                f"pretrain_images={self.pretrain_images} and pretrain_lr={self.pretrain_lr}: "
                "expected 0 or more"
            )
        if outputs_per_channel(self.loss_name) != 1:
            raise ValueError(f"loss={self.loss_name} needs two outputs an entry; use mse or bce")
        activation = self.network.activation_name
        if self.loss_name == "bce" and self.network.layers > 1 and activation != "sigmoid":
            raise ValueError(
                f"codes of {activation} units leave [0, 1], in which cross-entropy compares them; "
                "use loss=mse or activation=sigmoid"
            )
        for shape in self.network.shapes[:-1]:
            self.corruption.check(shape)

    # Phases

    def check_data(self, data: ImageDataModule, processes: int) -> None:
        """Refuse data of other classes than the classifier's (ValueError)."""
        classes = self.network.head.out_features
        if data.num_classes != classes:
            raise ValueError(
                f"the classifier tells {classes} classes apart, but {data.name} has "
                f"{data.num_classes}; use labelled data and "
                "method.network.num_classes=${data.num_classes}"
            )

    def setup(self, stage: str) -> None:
        """Choose the images that keep their labels; refuse data without."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        classes = self.network.head.out_features
        labels = split_labels(data, "train", classes)
        if self.labels is not None:
            self.labelled = balanced_subset(labels, self.labels, classes, self.labels_seed)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        before = self.images_seen
        super().on_train_batch_start(batch, batch_idx)
        self.layer = self.layer_at(before)
        if self.layer is None and self.finetuned_from is None:
            self.finetuned_from = self.progress
            # Momenta of the pre-training would push the weights on.
            for optimizer in self.trainer.optimizers:
                optimizer.state.clear()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["finetuned_from"] = self.finetuned_from

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.finetuned_from = checkpoint["finetuned_from"]

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer_factory(self.network.parameters())
        pretraining: float = self.pretrain_lr / optimizer.param_groups[0]["lr"]

        def factor(_: int) -> float:
            layer = self.layer_at(self.images_seen)
            if layer is None:
                start = self.finetuned_from if self.finetuned_from is not None else self.progress
                share = (self.progress - start) / max(1 - start, 1e-9)
                return learning_rate_factor(0, 0, share, self.decay)
            share = self.images_seen / self.pretrain_images - layer
            return pretraining * learning_rate_factor(0, 0, share, self.decay)

        return scheduled(optimizer, factor)

    # Training

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        if self.layer is None:
            lesson = self.lesson(batch)
            loss = cross_entropy(self.network(lesson.images).float(), lesson.labels)
        else:
            noise = BatchNoise(len(batch.images), self.device)
            loss = self.layer_losses(self.layer, batch.images, noise).mean()
            self.log(f"train/reconstruction_{self.layer + 1}", loss)
        self.log("train/loss", loss)
        return loss

    def lesson(self, batch: Batch) -> Batch:
        """Give as many images with labels as ``batch`` has images: others, where not all have."""
        if self.labelled is None:
            return batch
        n, world_size = len(batch.images), self.trainer.world_size
        pretrained = self.network.layers * self.pretrain_images
        # Of all processes, from where the last step ended.
        start = self.images_seen - n * world_size - pretrained
        places = shuffled_positions(len(self.labelled), start, n * world_size, self.run_seed)
        mine = places[self.global_rank * n :][:n]
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        return data.training_batch(self.labelled[mine])  # type: ignore[no-any-return]
