"""Probes of frozen features: a linear classifier and the nearest neighbours, for any method."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from datamodules.base import Batch
from functional.nearest_neighbours import vote
from functional.supervised_augment import SupervisedAugment
from lightning_modules.base import ImageModule
from lightning_modules.feature_bank import feature_bank, keep_labelled, score_key, split_labels
from lightning_modules.optimisation import batch_factor, scheduled
from lightning_modules.pretrained import Pretrained
from networks.linear_probes import LinearProbes

log = logging.getLogger(__name__)


class Probe(ImageModule):
    """What the features of a trained model are worth, beside those of the same one untrained.

    Scores are the share of right answers on the test images: ``probe/linear/top1``,
    ``probe/knn/top1`` and the same with ``linear-random`` and ``knn-random``. In a validation they
    are of the validation images, the best classifier's among the learning rates.

    Args:
        encoder: whose features are probed; it never changes.
        num_classes: of the data.
        optimizer: makes the optimiser from groups of named parameters.
        learning_rates: a linear classifier is trained with each, all at once; the test images see
            the one that is best on the validation images. For ``base_batch`` images.
        base_batch: images per step that a learning rate is meant for; None leaves it.
        warmup_steps, decay: of the learning rates; the decay spans the budget of the run.
        neighbours, temperature: k and T of ``functional.nearest_neighbours.vote``; k = 0 leaves the
            nearest neighbours out.
        random_baseline: probe the same model at its random initialisation too.
        labels: how many training images have labels, equally many of each class; None is all.
        labels_seed: which ones.
        augment: of training images, or None. Where it and the data leave images as they are, their
            features are computed once.
        feature_settings: of the model's ``feature_settings``, those that replace its own.

    Raises:
        ValueError: for a model without features, or settings that make no probe.
    """

    capabilities = frozenset({"features"})

    def __init__(
        self,
        encoder: Pretrained,
        num_classes: int,
        optimizer: Callable[[Iterable[Any]], Optimizer],
        learning_rates: Sequence[float],
        base_batch: int | None,
        warmup_steps: int,
        decay: str,
        neighbours: int,
        temperature: float,
        random_baseline: bool,
        labels: int | None,
        labels_seed: int,
        augment: SupervisedAugment | None = None,
        feature_settings: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if num_classes < 2 or neighbours < 0 or temperature <= 0:
            raise ValueError(
                f"{num_classes=}, {neighbours=}, {temperature=}: a probe needs 2 classes or more "
                "(labelled data), neighbours of 0 or more and a temperature above 0"
            )
        self.encoder = encoder.require_features(feature_settings).requires_grad_(False)
        self.trained, self.has_run = encoder.trained, encoder.run is not None
        self.num_classes, self.augment = num_classes, augment
        self.image_shape, self.chunk_size = self.encoder.image_shape, self.encoder.chunk_size
        self.optimizer_factory, self.learning_rates = optimizer, list(learning_rates)
        self.base_batch = base_batch
        self.learning_rate_factor = self.learning_rate_lambda(warmup_steps, decay)
        self.neighbours, self.temperature = neighbours, temperature
        self.labels, self.labels_seed = labels, labels_seed
        self.untrained: ImageModule | None = None
        if random_baseline:
            self.untrained = copy.deepcopy(self.encoder)
        dim = self.encoder.eval().features(torch.zeros(2, *self.image_shape)).shape[1]
        self.probes = nn.ModuleDict(
            {name: LinearProbes(dim, num_classes, len(self.learning_rates)) for name in self.models}
        )
        self.banks: dict[str, dict[str, Tensor]] = {}

    @property
    def models(self) -> dict[str, ImageModule]:
        """The models that are probed, by what their scores' names end in."""
        both = {"trained": self.encoder, "random": self.untrained}
        return {name: model for name, model in both.items() if model is not None}

    def train(self, mode: bool = True) -> Probe:
        """Set the mode of the classifiers; the models stay in evaluation."""
        super().train(mode)
        for model in self.models.values():
            model.eval()
        return self

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Give the encoder's features ``(N, D)``."""
        return self.encoder.features(images)

    # The run

    def setup(self, stage: str) -> None:
        """Keep the labels that are to be learnt from; refuse data that cannot be probed."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        keep_labelled(data, self.labels, self.num_classes, self.labels_seed)
        if len(self.learning_rates) > 1 and not data.split_size("validation"):
            raise ValueError(
                f"{len(self.learning_rates)} learning rates and no validation images to choose by; "
                "set data.validation_size, or method.learning_rates to one"
            )
        if self.neighbours > data.split_size("train"):
            raise ValueError(
                f"neighbours={self.neighbours} of {data.split_size('train')} training images; give "
                "method.neighbours of these at most, or 0 for none"
            )

    def begin(self) -> None:
        """Load a file of weights that the model itself begins with; a run's are there."""
        if not self.has_run:
            self.encoder.begin()

    def on_fit_start(self) -> None:
        if not self.trained:
            log.warning("the encoder is untrained: give a run by method.encoder=runs/NAME")
        for model in self.models.values():
            model.autocast_dtype = self.autocast_dtype

    def bank(self, split: str) -> dict[str, Tensor]:
        """Give the features ``(N, D)`` of a split by model, and its ``labels``; computed once."""
        if split not in self.banks:
            data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
            found = {name: feature_bank(m, data, split) for name, m in self.models.items()}
            labels = split_labels(data, split, self.num_classes)
            self.banks[split] = {**found, "labels": labels.to(self.device)}
        return self.banks[split]

    @property
    def cached(self) -> bool:
        """Whether training images are always the same ones."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        return not data.augments and (self.augment is None or self.augment.leaves_images)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        losses = []
        for name, features, targets in self._lessons(batch):
            for logits in self.probes[name](features):
                losses.append(cross_entropy(logits.float(), targets))
        self.log("train/loss", torch.stack(losses).mean())
        # The sum: each classifier learns as it would alone.
        return torch.stack(losses).sum()

    def _lessons(self, batch: Batch) -> Iterable[tuple[str, Tensor, Tensor]]:
        if self.cached:
            bank = self.bank("train")
            return [(name, bank[name][batch.indices], batch.labels) for name in self.models]
        images, targets = batch.images, batch.labels
        if self.augment is not None:
            images, targets = self.augment(images, targets, self.num_classes)
        return [(name, model.features(images), targets) for name, model in self.models.items()]

    def configure_optimizers(self) -> Any:
        scale = batch_factor(self, self.base_batch)
        rates = {f"classifiers.{i}": scale * lr for i, lr in enumerate(self.learning_rates)}
        groups = [
            {"params": list(probes.get_submodule(at).named_parameters(f"{name}.{at}")), "lr": lr}
            for name, probes in self.probes.items()
            for at, lr in rates.items()
        ]
        optimizer = self.optimizer_factory(groups)
        return scheduled(optimizer, self.learning_rate_factor)

    # Scores

    def on_validation_epoch_end(self) -> None:
        if self.trainer.datamodule.split_size("validation"):  # type: ignore[attr-defined]
            self._score("validation")

    def on_test_epoch_end(self) -> None:
        self._score("test")

    def _score(self, split: str) -> None:
        for name in self.models:
            suffix = "-random" if name == "random" else ""
            right = self.right(name, split)[self.chosen(name)]
            self.report(score_key(f"linear{suffix}", self.labels), right)
            if self.neighbours:
                self.report(score_key(f"knn{suffix}", self.labels), self.knn(name, split))

    @torch.no_grad()
    def right(self, name: str, split: str) -> list[float]:
        """Give the share of right answers on a split by learning rate."""
        bank = self.bank(split)
        answers = self.probes[name](bank[name]).argmax(dim=2)
        return (answers == bank["labels"]).double().mean(dim=1).tolist()  # type: ignore[no-any-return]

    def chosen(self, name: str) -> int:
        """Give the place of the learning rate that is best on the validation images."""
        if len(self.learning_rates) == 1:
            return 0
        shares = self.right(name, "validation")
        return shares.index(max(shares))

    def knn(self, name: str, split: str) -> float:
        """Give the share of a split's images whose class the nearest training images name."""
        train, asked = self.bank("train"), self.bank(split)
        votes = vote(
            asked[name], train[name], train["labels"], self.num_classes, self.neighbours,
            self.temperature,
        )  # fmt: skip
        return float((votes.argmax(dim=1) == asked["labels"]).double().mean())
