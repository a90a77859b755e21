"""One of the processes that train tiny GANs: ``python -m tests.gan_gloo_worker RANK FOLDER``."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn

from callbacks.checkpoints import Checkpoints
from callbacks.ema import EMA
from callbacks.guards import Guards
from callbacks.neighbours import NearestNeighbours
from functional.adversarial import LOSSES
from functional.augment import AdaptiveProbability
from functional.gan_regularizers import PENALTIES, Penalty
from lightning_modules.gan import GAN
from lightning_modules.generation import generate
from networks.dcgan import Generator
from tests.gloo import WORLD_SIZE, work
from tests.lightning_modules.test_gan import gan
from tests.lightning_modules.tiny import SIZE, data, trainer

N = 22
CASES: dict[str, dict[str, Any]] = {
    **{loss: {"loss": loss} for loss in LOSSES},
    **{name: {"penalties": [(name, 2.0, 1)]} for name in PENALTIES},
    "weight clip": {"loss": "wasserstein", "weight_clip": 0.05},
    "lazy penalties": {"penalties": [("r1", 2.0, 2), ("r2", 2.0, 3)]},
    "micro-batches": {"micro_batches": 2, "penalties": [("r1", 2.0, 1)]},
    "two steps of D": {"n_critic": 2, "micro_batches": 2, "loss": "relativistic"},
    "joint batches": {"joint_batches": True, "gradient_clip": 0.1},
    "augmentation": {"augment": "color,translation", "adaptive": (0.0, 40)},
}


def build(penalties: Any = (), adaptive: Any = None, **changes: Any) -> GAN:
    """Give the tiny GAN of a case."""
    return gan(
        penalties=[Penalty(*penalty) for penalty in penalties],
        adaptive=adaptive and AdaptiveProbability(*adaptive),
        **changes,
    )


def with_batch_norm() -> GAN:
    """Give a DCGAN with batch normalisation in both networks."""
    torch.manual_seed(0)
    generator = Generator(z_dim=4, channels=1, image_size=SIZE, width=4)
    discriminator = nn.Sequential(
        nn.Conv2d(1, 4, 4, stride=2, padding=1), nn.BatchNorm2d(4), nn.LeakyReLU(0.2),
        nn.Flatten(), nn.Linear(64, 1), nn.Flatten(0),
    )  # fmt: skip
    adam = partial(torch.optim.Adam, lr=0.01)
    module = gan(
        generator=generator, discriminator=discriminator, optimizer_g=adam, optimizer_d=adam
    )
    module.chunk_size = 4
    return module


def two_processes(folder: Path, callbacks: list[Callback], **changes: Any) -> Trainer:
    """Give a Trainer of this process and the other one."""
    strategy = DDPStrategy(find_unused_parameters=True, process_group_backend="gloo")
    return trainer(folder, callbacks, devices=WORLD_SIZE, strategy=strategy, **changes)


def digest(tensors: Iterable[Tensor]) -> str:
    """Give what tells tensors apart, to the bit."""
    content = hashlib.sha256()
    for tensor in tensors:
        content.update(tensor.detach().contiguous().numpy().tobytes())
    return content.hexdigest()


def train(module: GAN, folder: Path, **changes: Any) -> dict[str, Any]:
    """Train a case; give digests of the networks before and after, and of the latents drawn."""
    latents: list[str] = []
    module.generator.register_forward_pre_hook(
        lambda network, given: latents.append(digest(given[:1])) if network.training else None
    )
    networks = {"g": module.generator, "d": module.discriminator}
    before = {name: digest(network.parameters()) for name, network in networks.items()}
    run = two_processes(folder, [Guards(1)], steps=4, val_check_interval=100)
    run.fit(module, datamodule=data())
    after = {name: digest(network.parameters()) for name, network in networks.items()}
    p = None if module.adaptive is None else module.adaptive.p
    return {"before": before, "after": after, "latents": latents, "p": p}


class Watch(Callback):
    """Keeps digests of the buffers in training and in evaluation, averaged and raw, and a share of
    the images that the processes make together."""

    def __init__(self) -> None:
        self.seen: dict[str, Any] = {}

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.seen["training"] = digest(pl_module.buffers())

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.seen["averaged"] = digest(pl_module.buffers())
        self.seen["averaged images"] = share(trainer, pl_module)
        with pl_module.raw():
            self.seen["raw"] = digest(pl_module.buffers())
            self.seen["raw images"] = share(trainer, pl_module)
        self.seen["averaged again"] = digest(pl_module.buffers())


def share(trainer: Trainer, module: GAN) -> dict[int, Any]:
    """Give this process's share of ``N`` images, by index."""
    chunks = generate(module, N, 3, trainer.global_rank, trainer.world_size)
    return {
        index: image
        for chunk in chunks
        for index, image in zip(chunk.indices.tolist(), chunk.images.tolist(), strict=True)
    }


def evaluate(folder: Path) -> dict[str, Any]:
    """Train a GAN with batch norm, evaluating at its end; give what this process saw."""
    watch, module = Watch(), with_batch_norm()
    neighbours = NearestNeighbours("pixels", N, 3, 2, None, 3)
    parts = [watch, EMA(0.9), Checkpoints(None, 60), neighbours]
    run = two_processes(folder, parts, steps=3)
    run.fit(module, datamodule=data())
    run.test(module, datamodule=data(), verbose=False)
    return {**watch.seen, "scores": module.scores}


def see(folder: Path) -> dict[str, Any]:
    """Give what this rank saw of every case."""
    outcome: dict[str, Any] = {name: train(build(**c), folder / name) for name, c in CASES.items()}
    return {**outcome, "evaluation": evaluate(folder / "evaluation")}


if __name__ == "__main__":
    work(see)
