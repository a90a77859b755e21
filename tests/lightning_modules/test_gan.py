from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from callbacks.ema import EMA
from callbacks.guards import Guards
from callbacks.run_record import read_rows
from functional.adversarial import LOSSES
from functional.augment import AdaptiveProbability
from functional.gan_regularizers import Penalty
from lightning_modules.base import ImageModule
from lightning_modules.gan import GAN
from tests.lightning_modules.tiny import SIZE, data, trainer

PENALTIES = [Penalty("r1", 1.0, 1), Penalty("r2", 1.0, 2), Penalty("gradient_penalty", 10.0, 1)]


class Generator(nn.Module):
    def __init__(self, num_classes: int = 0) -> None:
        super().__init__()
        self.z_dim, self.num_classes = 4, num_classes
        self.layer = nn.Linear(4 + num_classes, SIZE * SIZE)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        if labels is not None:
            z = torch.cat([z, nn.functional.one_hot(labels, self.num_classes).float()], dim=1)
        return torch.tanh(self.layer(z)).view(-1, 1, SIZE, SIZE)


class Discriminator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(SIZE * SIZE, 8), nn.Linear(8, 1)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.last(torch.nn.functional.softplus(self.first(images.flatten(1)))).squeeze(1)


def gan(**changes: Any) -> GAN:
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "generator": Generator(),
        "discriminator": Discriminator(),
        "loss": "non_saturating",
        "optimizer_g": partial(torch.optim.SGD, lr=0.1),
        "optimizer_d": partial(torch.optim.SGD, lr=0.1),
        "n_critic": 1,
        "penalties": [],
        "weight_clip": None,
        "joint_batches": False,
        "augment": "",
        "adaptive": None,
        "micro_batches": 1,
        "gradient_clip": None,
        "warmup_steps": 0,
        "decay": "constant",
        "truncation": None,
        "channels": 1,
        "image_size": SIZE,
    }
    return GAN(**{**settings, **changes})


class Watch(Guards):
    """Keeps what every optimiser step of a run left behind."""

    def __init__(self) -> None:
        super().__init__(every_n_steps=1)
        self.steps: list[str] = []
        self.still: list[bool] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        super().on_before_optimizer_step(trainer, pl_module, optimizer)
        label = pl_module.optimizer_label(optimizer)
        self.steps.append(label)
        idle = pl_module.discriminator if label == "_g" else pl_module.generator
        self.still.append(not any(p.requires_grad for p in idle.parameters()))


def fit(module: ImageModule, folder: Path, *callbacks: Any, steps: int = 6, **changes: Any) -> None:
    trainer(folder, list(callbacks), steps=steps, **changes).fit(module, datamodule=data())


def weights(module: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


# The two steps


def test_a_step_of_one_network_leaves_the_other_as_it_was(tmp_path: Path) -> None:
    for moved, frozen in (("discriminator", "generator"), ("generator", "discriminator")):
        rates = {"optimizer_d": 0.1, "optimizer_g": 0.1, f"optimizer_{frozen[0]}": 0.0}
        module = gan(**{name: partial(torch.optim.SGD, lr=lr) for name, lr in rates.items()})
        before = {name: weights(getattr(module, name)) for name in (moved, frozen)}
        watch = Watch()
        fit(module, tmp_path / moved, watch)
        assert all(watch.still) and watch.steps == ["_d", "_g"] * 6
        assert torch.equal(weights(getattr(module, frozen)), before[frozen])
        assert not torch.equal(weights(getattr(module, moved)), before[moved])


def test_an_exception_in_a_step_leaves_both_networks_trainable(tmp_path: Path) -> None:
    module = gan()

    def fail(*_: Any) -> Tensor:
        raise RuntimeError("out of memory")

    module.manual_backward = fail  # type: ignore[assignment,method-assign]
    with pytest.raises(RuntimeError, match="out of memory"):
        fit(module, tmp_path)
    assert all(p.requires_grad for p in module.parameters())


@pytest.mark.parametrize("n_critic", [1, 5])
def test_steps_and_images_are_counted_as_they_are_taken(tmp_path: Path, n_critic: int) -> None:
    module, watch, ema = gan(n_critic=n_critic), Watch(), EMA(0.9)
    fit(module, tmp_path, watch, ema, steps=10)
    assert (module.steps, module.images_seen) == (10, 80)
    assert watch.steps.count("_d") == 10
    assert watch.steps.count("_g") == 10 // n_critic == ema.updates


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_micro_batches_add_up_to_the_whole_batch(tmp_path: Path, loss: str, joint: bool) -> None:
    ends = []
    for parts in (1, 4):
        penalties = [Penalty("r1", 0.5, 1)]
        module = gan(loss=loss, joint_batches=joint, micro_batches=parts, penalties=penalties)
        fit(module, tmp_path / f"{parts}", steps=4)
        ends.append(weights(module))
    torch.testing.assert_close(*ends, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("penalty", PENALTIES, ids=lambda p: p.name)
def test_a_penalty_is_logged_and_changes_what_is_learnt(tmp_path: Path, penalty: Penalty) -> None:
    plain, punished = gan(loss="wasserstein"), gan(loss="wasserstein", penalties=[penalty])
    seen: dict[str, Tensor] = {}
    punished.log_dict = seen.update  # type: ignore[assignment,method-assign]
    fit(plain, tmp_path / "plain", steps=3)
    fit(punished, tmp_path / "punished", steps=3)
    assert float(seen[f"train/{penalty.name}"]) > 0
    assert not torch.equal(weights(plain.discriminator), weights(punished.discriminator))


def logged(folder: Path, name: str) -> list[Any]:
    return [row.get(name) for row in read_rows(folder / "metrics.jsonl") if "train/loss" in row]


def test_a_row_shows_the_last_value_of_what_is_not_of_every_step(tmp_path: Path) -> None:
    """Rows of steps 2, 4, 6 and 8; the penalty of steps 1, 3, 5 and 7, G's of 3 and 6."""
    settings: dict[str, Any] = {"n_critic": 3, "penalties": [Penalty("r1", 1.0, 2)]}
    whole, rows = tmp_path / "whole", tmp_path / "rows"
    fit(gan(**settings), whole, steps=8)
    fit(gan(**settings), rows, steps=8, log_every_n_steps=2)
    assert logged(rows, "train/r1") == logged(whole, "train/r1")[::2]
    g = logged(whole, "train/loss_g")
    assert logged(rows, "train/loss_g") == [None, g[2], g[5], g[5]]


def test_a_resumed_run_shows_the_last_values_of_the_run_before(tmp_path: Path) -> None:
    module = gan(n_critic=5, penalties=[Penalty("r1", 1.0, 5)])
    fit(module, tmp_path, steps=6)
    checkpoint: dict[str, Any] = {}
    module.on_save_checkpoint(checkpoint)
    other = gan()
    other.on_load_checkpoint(checkpoint)
    assert other.latest == module.latest and {"r1", "loss_g"} < other.latest.keys()
    del checkpoint["latest"]  # of a run made before it was kept
    other.on_load_checkpoint(checkpoint)


def test_weights_of_a_wgan_stay_within_their_bound(tmp_path: Path) -> None:
    module = gan(loss="wasserstein", weight_clip=0.01)
    fit(module, tmp_path)
    assert weights(module.discriminator).abs().max() <= 0.01 < weights(module.generator).abs().max()


def test_the_norm_of_a_step_is_clipped_to_the_methods_own_setting(tmp_path: Path) -> None:
    module = gan(gradient_clip=1e-3)
    before = weights(module)
    fit(module, tmp_path, steps=1)
    moved = [weights(module)[part] - before[part] for part in (slice(0, 320), slice(320, None))]
    for step in moved:
        assert step.norm() == pytest.approx(0.1 * 1e-3, rel=1e-2)


def test_augmentation_reaches_real_fake_and_the_generators_step(tmp_path: Path) -> None:
    seen: list[bool] = []

    class Spy(Discriminator):
        def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
            if self.training:
                seen.append(bool((images == 0).all(dim=(1, 2, 3)).any()))
            return super().forward(images, labels)

    def blank(images: Tensor, policy: str, p: float) -> Tensor:
        return images * 0

    module = gan(discriminator=Spy(), augment="cutout")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lightning_modules.gan.diff_augment", blank)
        fit(module, tmp_path, steps=2)
    assert seen == [True] * 6


def test_a_penalty_is_on_the_gradient_in_the_images_before_augmentation(tmp_path: Path) -> None:
    """Which is 0 where augmentation leaves nothing of them, whatever D makes of the rest."""
    module, seen = gan(augment="cutout", penalties=[Penalty("r1", 1.0, 1)]), {}
    module.log_dict = seen.update  # type: ignore[assignment,method-assign]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lightning_modules.gan.diff_augment", lambda images, *_: images * 0)
        fit(module, tmp_path, steps=1)
    assert float(seen["train/r1"]) == 0
    fit(module, tmp_path, steps=2)
    assert float(seen["train/r1"]) > 0


def test_the_adaptive_probability_follows_d_and_survives_a_checkpoint(tmp_path: Path) -> None:
    adaptive = AdaptiveProbability(target=-0.9, images=80)
    module = gan(augment="color", adaptive=adaptive)
    fit(module, tmp_path, steps=8)
    assert 0 < adaptive.p <= 1
    checkpoint: dict[str, Any] = {}
    module.on_save_checkpoint(checkpoint)
    other = gan(augment="color", adaptive=AdaptiveProbability(target=-0.9, images=80))
    other.on_load_checkpoint(checkpoint)
    assert other.adaptive is not None and other.adaptive.p == adaptive.p
    assert (other.steps, other.images_seen) == (8, 64)
