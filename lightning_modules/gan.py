"""Generative adversarial networks (Goodfellow et al. 2014) under any loss, penalty and network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from lightning import Trainer
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from datamodules.base import Batch, ImageDataModule
from functional.adversarial import make_loss
from functional.augment import AdaptiveProbability, check_augmentation, diff_augment
from functional.gan_regularizers import Penalty, clip_weights, refuse_compiled, refuse_synchronised
from functional.micro_batches import check_parts, split
from functional.schedule import Schedule, check_positive, check_schedules, set_scheduled, value_at
from lightning_modules.latent_generator import LatentGenerator
from networks.blocks import check_classes, check_data_classes

MakeOptimizer = Callable[[Iterable[tuple[str, nn.Parameter]]], Optimizer]


class GAN(LatentGenerator):
    """A generator G and a discriminator D, each with its optimiser, stepped by hand.

    A training batch is one step of D; every ``n_critic``-th batch is a step of G too, after D's and
    with fresh latents. ``images_seen`` counts the real images that D was shown, so budgets, charts
    and checkpoints mean the same as for every other method.

    Args:
        generator: ``(N, z_dim)`` latents, and labels where it has classes, to images in [-1, 1].
        discriminator: images, and labels, to logits.
        loss: a name of ``functional.adversarial.LOSSES``.
        optimizer_g, optimizer_d: make the optimisers from named parameters; two learning rates are
            TTUR (Heusel et al. 2017).
        n_critic: steps of D for one of G.
        penalties: on D's gradient in the images before any augmentation, each with its weight and
            interval.
        weight_clip: bound of D's weights after each of its steps (WGAN), or None.
        joint_batches: whether D sees real and fake images in one batch, or one after the other;
            differs where D has batch normalisation.
        augment: transforms of what D sees, such as "color,translation,cutout"; "" for none.
        augment_p: their probability, in [0, 1].
        adaptive: ADA's controller of that probability, or None.
        micro_batches: a batch goes through the networks in so many equal parts, whose gradients add
            up to the whole batch's.
        gradient_clip: largest norm of a step's gradient, of each network, or None.
        warmup_steps, decay: of both learning rates; the decay spans the budget of the run.
        schedules_g, schedules_d: what else changes of the optimisers with the images seen, by
            name: ``lr`` (in place of the optimiser's own), ``beta1``, ``beta2``, ``momentum``, ...
        truncation: at sampling, latents longer than ``truncation * sqrt(z_dim)`` are shortened to
            it; None leaves them.
        channels, image_size: of the images.
        compile_generator, compile_discriminator: compile them; checkpoints keep their keys.
    """

    capabilities = frozenset({"sample", "interpolate", "features"})

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        loss: str,
        optimizer_g: MakeOptimizer,
        optimizer_d: MakeOptimizer,
        n_critic: int,
        penalties: Sequence[Penalty],
        weight_clip: float | None,
        joint_batches: bool,
        augment: str,
        adaptive: AdaptiveProbability | None,
        micro_batches: int,
        gradient_clip: float | None,
        warmup_steps: int,
        decay: str,
        truncation: float | None,
        channels: int,
        image_size: int,
        compile_generator: bool = False,
        compile_discriminator: bool = False,
        augment_p: float | Schedule = 1.0,
        schedules_g: Mapping[str, Schedule] | None = None,
        schedules_d: Mapping[str, Schedule] | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.images_before = 0
        self.latest: dict[str, Tensor] = {}
        self.generator, self.discriminator = generator, discriminator
        self.loss, self.penalties = make_loss(loss), list(penalties)
        self.makers = (optimizer_g, optimizer_d)
        check_positive(n_critic=n_critic, micro_batches=micro_batches)
        check_positive(weight_clip=weight_clip, gradient_clip=gradient_clip, truncation=truncation)
        self.n_critic, self.micro_batches = n_critic, micro_batches
        self.weight_clip, self.gradient_clip = weight_clip, gradient_clip
        self.joint_batches, self.truncation = joint_batches, truncation
        check_augmentation(augment, augment_p, adaptive, self.loss.boundary)
        check_classes(generator, discriminator)
        self.augment, self.augment_p, self.adaptive = augment, augment_p, adaptive
        self.schedules = (dict(schedules_g or {}), dict(schedules_d or {}))
        self.learning_rate_factor = self.learning_rate_lambda(warmup_steps, decay)
        self.image_shape = (channels, image_size, image_size)
        if not hasattr(discriminator, "features"):
            self.capabilities = self.capabilities - {"features"}
        if compile_generator:
            self.generator.compile()
        if compile_discriminator:
            self.discriminator.compile()
        if self.penalties:
            refuse_compiled(self.discriminator)

    def check_trainer(self, trainer: Trainer) -> None:
        for setting, own, default in (
            ("gradient_clip_val", "method.gradient_clip", None),
            ("accumulate_grad_batches", "method.micro_batches", 1),
        ):
            value = getattr(trainer, setting)
            if value not in (None, default):
                raise ValueError(
                    f"trainer.{setting}={value} has no meaning for a method with two optimisers "
                    f"stepped by hand; set {own}={value} instead"
                )
        synchronised = getattr(trainer.strategy, "_layer_sync", None) is not None
        if self.penalties and synchronised and trainer.world_size > 1:
            refuse_synchronised(self.discriminator)

    def check_data(self, data: ImageDataModule, processes: int) -> None:
        check_parts(data.batch_size // processes, self.micro_batches)
        check_data_classes(self.num_classes, data.num_classes)

    def configure_optimizers(self) -> Any:
        makers = zip(self.makers, (self.generator, self.discriminator), strict=True)
        optimizers = [make(network.named_parameters()) for make, network in makers]
        with_schedules = zip(optimizers, self.schedules, strict=True)
        return optimizers, [LambdaLR(o, self._rate(o, given)) for o, given in with_schedules]

    def _rate(self, optimizer: Optimizer, schedules: Mapping[str, Schedule]) -> Any:
        """Give the factor on the optimiser's own learning rate, the schedule's in its place."""
        check_schedules(optimizer, schedules)
        if "lr" not in schedules:
            return self.learning_rate_factor
        own, schedule = optimizer.param_groups[0]["lr"], schedules["lr"]
        return lambda _: self.learning_rate_factor(self.steps) * schedule(self.images_seen) / own

    @property
    def averaged_steps(self) -> int:
        """Steps of G, which alone move what is averaged."""
        return self.steps // self.n_critic

    def optimizer_label(self, optimizer: Optimizer) -> str:
        first = optimizer.param_groups[0]["params"][0]
        return "_g" if any(first is p for p in self.generator.parameters()) else "_d"

    # Training

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        labels = batch.labels if self.num_classes else None
        optimizer_g, optimizer_d = optimizers = cast(Sequence[Any], self.optimizers())
        self.images_before = self.images_seen - len(batch.images) * self.trainer.world_size
        for optimizer, schedules in zip(optimizers, self.schedules, strict=True):
            set_scheduled(optimizer, schedules, self.images_before)
        seen = self._discriminator_step(batch.images, labels, optimizer_d)
        if self.adaptive is not None and self.steps % 4 == 0:
            seen["augment_p"] = torch.tensor(self.adaptive.adjust(self._sum))
        if self.steps % self.n_critic == 0:
            seen["loss_g"] = self._generator_step(batch.images, labels, optimizer_g)
        for schedule in self.lr_schedulers():  # type: ignore[union-attr]
            schedule.step()
        # The steps of G, of lazy penalties and of ADA may never be steps of which a row is written.
        self.latest |= seen
        self.log_dict({f"train/{name}": value for name, value in self.latest.items()})
        return {"loss": seen["loss"]}

    def _discriminator_step(
        self, images: Tensor, labels: Tensor | None, optimizer: Any
    ) -> dict[str, Tensor]:
        """Step D on real and fresh fake images; give what to log."""
        with torch.no_grad():
            fakes = self.generator(self._latents(len(images)), labels)
        seen: dict[str, Tensor] = {}
        with self.toggled_optimizer(optimizer):
            optimizer.zero_grad()
            for real, fake, y in split(self.micro_batches, images, fakes, labels):
                loss, part = self._discriminator_loss(real, fake, y)
                self.manual_backward(loss / self.micro_batches)
                for name, value in part.items():
                    seen[name] = seen.get(name, 0.0) + value.detach() / self.micro_batches
            optimizer.step()
        if self.weight_clip is not None:
            clip_weights(self.discriminator.parameters(), self.weight_clip)
        return seen

    def _discriminator_loss(
        self, real: Tensor, fake: Tensor, labels: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        on_real, on_fake = self._judge(self._augmented(real), self._augmented(fake), labels)
        if self.adaptive is not None:
            self.adaptive.observe(on_real, self.loss.boundary or 0.0)
        loss = self.loss.discriminator(on_real, on_fake)
        seen = {"loss": loss, **self.loss.statistics(on_real, on_fake)}
        for penalty in self.penalties:
            if penalty.due(self.steps - 1, self.images_before):
                value = penalty.value(self._judge_samples, real, fake, labels, labels)
                loss = loss + penalty.weighted(value, self.images_before)
                seen[penalty.name] = value
        return loss, seen

    def _generator_step(self, images: Tensor, labels: Tensor | None, optimizer: Any) -> Tensor:
        """Step G through D, whose parameters stand still; give G's loss."""
        z, total = self._latents(len(images)), torch.zeros((), device=self.device)
        with self.toggled_optimizer(optimizer):
            optimizer.zero_grad()
            for real, part, y in split(self.micro_batches, images, z, labels):
                fake = self._augmented(self.generator(part, y))
                if self.loss.needs_real:
                    on_real, on_fake = self._judge(self._augmented(real), fake, y)
                    loss = self.loss.generator(on_fake, on_real)
                else:
                    loss = self.loss.generator(self._logits(fake, y))
                self.manual_backward(loss / self.micro_batches)
                total += loss.detach() / self.micro_batches
            optimizer.step()
        return total

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Clip by the norm that the guards measured a moment before."""
        if self.gradient_clip is not None:
            self.configure_gradient_clipping(optimizer, self.gradient_clip)
        self.gradient_norm = None

    def _latents(self, n: int) -> Tensor:
        return torch.randn(n, self.z_dim, device=self.device)

    def _augmented(self, images: Tensor) -> Tensor:
        chosen = self.augment_p if self.adaptive is None else self.adaptive.p
        p = value_at(chosen, self.images_before)
        return diff_augment(images, self.augment, p) if self.augment and p > 0 else images

    def _logits(self, images: Tensor, labels: Tensor | None) -> Tensor:
        return cast(Tensor, self.discriminator(*([images] if labels is None else [images, labels])))

    def _judge_samples(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Give logits of ``images`` under an augmentation of their own.

        A penalty is on the gradient in the samples themselves (StyleGAN2-ADA and R3GAN alike).
        """
        return self._logits(self._augmented(images), labels)

    def _judge(self, real: Tensor, fake: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Give D's logits of real and of fake images, from one batch or from two."""
        if not self.joint_batches:
            return self._logits(real, labels), self._logits(fake, labels)
        both = None if labels is None else torch.cat([labels, labels])
        on_real, on_fake = self._logits(torch.cat([real, fake]), both).chunk(2)
        return on_real, on_fake

    def _sum(self, totals: Tensor) -> Tensor:
        return cast(Tensor, self.trainer.strategy.reduce(totals, reduce_op="sum"))

    # Evaluation

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Give D's features ``(N, D)``, float32, those before its last layer; no label enters."""
        with self.autocast():
            return cast(Tensor, cast(Any, self.discriminator).features(images)).float()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log D's mean logit on images it never saw; far below train/d_real, D overfits."""
        labels = batch.labels if self.num_classes else None
        logits = self._logits(batch.images, labels)
        self.log("val/d_real", logits.mean(), batch_size=len(batch.images), sync_dist=True)

    def forward_flops(self) -> int:
        """Give the floating-point operations of G and D on one image."""
        labels = () if not self.num_classes else (torch.zeros(1, dtype=torch.long),)
        return self.count_flops(self.generator, (self.z_dim,), *labels) + self.count_flops(
            self.discriminator, self.image_shape, *labels
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["latest"] = {name: float(value) for name, value in self.latest.items()}
        if self.adaptive is not None:
            checkpoint["adaptive"] = self.adaptive.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.latest = {k: torch.tensor(v) for k, v in checkpoint.get("latest", {}).items()}
        if self.adaptive is not None and "adaptive" in checkpoint:
            self.adaptive.load_state_dict(checkpoint["adaptive"])
