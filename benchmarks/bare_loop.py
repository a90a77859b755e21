"""The shortest PyTorch loops that train what the Trainer trains: no hooks, no logs, no records."""

from __future__ import annotations

import copy
import time
from itertools import count
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from functional.gan_regularizers import clip_weights
from functional.images import to_float


class BareLoop:
    """Batches, an average of weights and a clock around the steps of a method.

    Args:
        module: trained in a copy; its networks, losses and optimisers are used, and no other part.
        data: the data module, whose training split is held as uint8.
        clip: largest norm of the gradient, or None.
        decay: of the average.
    """

    def __init__(self, module: Any, data: Any, clip: float | None, decay: float) -> None:
        self.module = copy.deepcopy(module)
        # A copy is left without; learning rates ask it for the batch.
        self.module._trainer = module._trainer
        self.module.log = self.module.log_dict = lambda *_, **__: None
        self.pixels = torch.cat(list(data.uint8_batches("train", 4096))).to(module.device)
        self.batch_type, self.size = type(next(iter(data.train_dataloader()))), data.batch_size
        self.classes = max(1, data.num_classes)
        self.clip, self.decay = clip, decay
        networks = [getattr(self.module, name) for name in module.ema_modules]
        self.averaged = [p.detach() for network in networks for p in network.parameters()]
        self.average = [p.clone() for p in self.averaged]
        self.configure()

    def configure(self) -> None:
        """Make optimisers and schedules."""
        raise NotImplementedError

    def step(self, batch: Any) -> None:
        """Train on one batch."""
        raise NotImplementedError

    def run(self, steps: int) -> float:
        """Train ``steps`` steps; give their seconds."""
        start = time.perf_counter()
        for _ in range(steps):
            chosen = torch.randint(len(self.pixels), (self.size,))
            images = to_float(self.pixels[chosen])
            self.step(self.batch_type(images, chosen % self.classes, chosen))
            if self.average:  # a method may keep none
                torch._foreach_lerp_(self.average, self.averaged, self.decay)
        synchronize()
        return time.perf_counter() - start

    def update(self, optimizer: torch.optim.Optimizer, parameters: list[Tensor]) -> None:
        """Clip, then step."""
        if self.clip:
            norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
            clip_grads_with_norm_(parameters, self.clip, norm)
        optimizer.step()


class OneLoss(BareLoop):
    """A method whose ``training_step`` gives one loss for one optimiser."""

    def configure(self) -> None:
        configured = self.module.configure_optimizers()
        self.optimizer = configured["optimizer"]
        self.schedule = configured["lr_scheduler"]["scheduler"]
        self.parameters = list(self.module.parameters())

    def step(self, batch: Any) -> None:
        with self.module.autocast():
            loss = self.module.training_step(batch, 0)
        self.optimizer.zero_grad()
        loss.backward()
        self.update(self.optimizer, self.parameters)
        self.schedule.step()


class TwoPlayers(BareLoop):
    """A GAN: a step of D on real and fake images, then one of G through a D that stands still.

    Nothing is measured but the losses: no accuracies, no mean logits.
    """

    def configure(self) -> None:
        if self.module.micro_batches > 1:
            raise ValueError("the bare loop takes whole batches; set method.micro_batches=1")
        (self.of_g, self.of_d), self.schedules = self.module.configure_optimizers()
        self.g = list(self.module.generator.parameters())
        self.d = list(self.module.discriminator.parameters())
        self.steps = count()

    def step(self, batch: Any) -> None:
        number, labels = next(self.steps), batch.labels if self.module.num_classes else None
        self.discriminator_step(batch.images, labels, number)
        if (number + 1) % self.module.n_critic == 0:
            self.generator_step(batch.images, labels)
        for schedule in self.schedules:
            schedule.step()

    def discriminator_step(self, images: Tensor, labels: Tensor | None, number: int) -> None:
        """Step D."""
        module = self.module
        with module.autocast():
            with torch.no_grad():
                fake = module.generator(module._latents(len(images)), labels)
            shown = module._augmented(images), module._augmented(fake)
            loss = module.loss.discriminator(*module._judge(*shown, labels))
            for penalty in module.penalties:
                if penalty.due(number, module.images_before):
                    value = penalty.value(module._judge_samples, images, fake, labels, labels)
                    loss = loss + penalty.weighted(value, module.images_before)
        self.of_d.zero_grad()
        loss.backward()
        self.update(self.of_d, self.d)
        if module.weight_clip is not None:
            clip_weights(self.d, module.weight_clip)

    def generator_step(self, images: Tensor, labels: Tensor | None) -> None:
        """Step G."""
        module = self.module
        module.discriminator.requires_grad_(False)
        with module.autocast():
            fake = module._augmented(module.generator(module._latents(len(images)), labels))
            if module.loss.needs_real:
                on_real, on_fake = module._judge(module._augmented(images), fake, labels)
                loss = module.loss.generator(on_fake, on_real)
            else:
                loss = module.loss.generator(module._logits(fake, labels))
        self.of_g.zero_grad()
        loss.backward()
        self.update(self.of_g, self.g)
        module.discriminator.requires_grad_(True)


def bare_loop(module: Any, data: Any, clip: float | None, decay: float) -> BareLoop:
    """Give the loop for ``module``, by the way it is optimised; a GAN has its own clip."""
    if module.automatic_optimization:
        return OneLoss(module, data, clip, decay)
    return TwoPlayers(module, data, module.gradient_clip, decay)


def synchronize() -> None:
    """Wait for the GPU, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
