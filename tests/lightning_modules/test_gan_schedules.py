"""What a GAN changes with the images it has seen: closed forms, step by step."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from callbacks.checkpoints import Checkpoints
from callbacks.ema import EMA
from functional.augment import AdaptiveProbability
from functional.gan_regularizers import Penalty
from functional.schedule import CosineSchedule, LinearSchedule, Schedule
from tests.lightning_modules.test_gan import fit, gan, weights
from tests.lightning_modules.tiny import SIZE, data, trainer

BATCH = 8
ADAM = partial(torch.optim.Adam, lr=0.1, betas=(0.0, 0.9))
RATE, BETA2 = CosineSchedule(2e-4, 5e-5, 40), CosineSchedule(0.9, 0.99, 40)
GAMMA, P = CosineSchedule(0.05, 0.005, 40), CosineSchedule(0.0, 0.55, 40)


class Steps(Callback):
    """Keeps, for every optimiser step, whose it is, its group's numbers and its gradient."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, dict[str, Any], Tensor]] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        group = optimizer.param_groups[0]
        numbers = {name: value for name, value in group.items() if name != "params"}
        gradient = torch.cat([p.grad.flatten().clone() for p in group["params"]])
        self.taken.append((pl_module.optimizer_label(optimizer), numbers, gradient))

    def of(self, label: str) -> list[tuple[dict[str, Any], Tensor]]:
        return [(numbers, gradient) for whose, numbers, gradient in self.taken if whose == label]


def test_rate_and_beta2_of_a_step_are_those_of_the_images_before_it(tmp_path: Path) -> None:
    slow, steps = LinearSchedule(0.5, 0.1, 24), Steps()
    module = gan(
        optimizer_g=ADAM, optimizer_d=ADAM, n_critic=2,
        schedules_g={"lr": RATE, "beta2": BETA2}, schedules_d={"lr": slow},
    )  # fmt: skip
    fit(module, tmp_path, steps, steps=8)
    of_g, of_d = steps.of("_g"), steps.of("_d")
    assert (len(of_g), len(of_d)) == (4, 8)
    for k, (numbers, _) in enumerate(of_d):
        assert numbers["lr"] == pytest.approx(slow(BATCH * k))
        assert numbers["betas"] == (0.0, 0.9)
    for k, (numbers, _) in enumerate(of_g):
        before = BATCH * (2 * k + 1)
        assert numbers["lr"] == pytest.approx(RATE(before))
        assert numbers["betas"] == pytest.approx((0.0, BETA2(before)))


def test_warm_up_and_decay_multiply_a_scheduled_rate(tmp_path: Path) -> None:
    steps = Steps()
    fit(gan(warmup_steps=4, schedules_d={"lr": RATE}), tmp_path, steps, steps=5)
    shares = [numbers["lr"] / RATE(BATCH * k) for k, (numbers, _) in enumerate(steps.of("_d"))]
    assert shares == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])


class Linear(nn.Module):
    """D(x) = <w, x>, whose R1 has the gradient gamma w."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(SIZE * SIZE, 1, bias=False)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.layer(images.flatten(1)).squeeze(1)  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", ["r1", "r2"])
def test_a_scheduled_gamma_weighs_the_penalty_of_each_step(tmp_path: Path, name: str) -> None:
    """Nothing learns, so that two runs differ in each step's gradient by gamma w alone."""
    still = partial(torch.optim.SGD, lr=0.0)
    torch.manual_seed(3)
    d, gradients = Linear(), []
    for penalties in ([], [Penalty(name, GAMMA, 1)]):
        steps = Steps()
        module = gan(
            discriminator=d, optimizer_g=still, optimizer_d=still, penalties=penalties,
            loss="relativistic",
        )  # fmt: skip
        fit(module, tmp_path / f"{len(penalties)}", steps, steps=7)
        gradients.append([gradient for _, gradient in steps.of("_d")])
    for k, (plain, punished) in enumerate(zip(*gradients, strict=True)):
        wanted = GAMMA(BATCH * k) * weights(d)
        torch.testing.assert_close(punished - plain, wanted, rtol=1e-3, atol=1e-6)


def test_augmentation_has_the_probability_of_the_images_seen(tmp_path: Path) -> None:
    seen: list[float] = []

    def spying(images: Tensor, policy: str, p: float) -> Tensor:
        seen.append(p)
        return images

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lightning_modules.gan.diff_augment", spying)
        fit(gan(augment="color", augment_p=P), tmp_path, steps=4)
    # At p = 0 nothing is augmented; then real, fake, and the fake of G's step.
    assert seen == pytest.approx([P(BATCH * k) for k in (1, 2, 3) for _ in range(3)])


def test_a_half_life_counts_the_images_between_two_steps_of_g(tmp_path: Path) -> None:
    half_life = LinearSchedule(0.0, 100.0, 40)
    ema, module, kept = EMA(None, half_life), gan(n_critic=2), []
    original = ema._decay_of_update
    ema._decay_of_update = lambda images: kept.append(original(images)) or kept[-1]  # type: ignore[func-returns-value,method-assign]
    fit(module, tmp_path, ema, steps=6)
    assert kept == pytest.approx([0.0, 2 ** (-16 / half_life(16)), 2 ** (-16 / half_life(32))])


def recipe() -> Any:
    schedules: dict[str, Schedule] = {"lr": RATE, "beta2": BETA2}
    return gan(
        loss="relativistic", optimizer_g=ADAM, optimizer_d=ADAM, n_critic=2, augment="color",
        augment_p=P, penalties=[Penalty("r1", GAMMA, 1), Penalty("r2", GAMMA, 1)],
        schedules_g=schedules, schedules_d=schedules,
    )  # fmt: skip


def test_a_resumed_run_goes_on_with_every_schedule_to_the_bit(tmp_path: Path) -> None:
    def ema() -> EMA:
        return EMA(None, CosineSchedule(0.0, 50.0, 40))

    whole, cut, resumed = recipe(), recipe(), recipe()
    averages = [ema() for _ in range(3)]
    fit(whole, tmp_path / "whole", averages[0], steps=8)
    fit(cut, tmp_path / "cut", averages[1], Checkpoints(None, every_minutes=60), steps=5)
    trainer(tmp_path / "resumed", [averages[2]], steps=8).fit(
        resumed, data(), ckpt_path=tmp_path / "cut" / "checkpoints" / "last.ckpt", weights_only=True
    )
    assert torch.equal(weights(resumed), weights(whole))
    for name, average in averages[0].average.items():
        assert torch.equal(averages[2].average[name], average)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"augment_p": 1.5}, "augment_p must lie in [0, 1], got 1.5"),
        ({"augment_p": LinearSchedule(0, 2, 9)}, "augment_p must lie in [0, 1], got 2"),
        ({"augment_p": 0.5, "adaptive": AdaptiveProbability(0.6, 80)}, "adaptive=null, or leave"),
    ],
)
def test_probabilities_that_cannot_be_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as caught:
        gan(**changes)
    assert words in str(caught.value)


def test_a_schedule_of_what_the_optimiser_has_not_is_refused_before_training() -> None:
    with pytest.raises(ValueError, match="SGD has no 'beta2' to schedule; known"):
        gan(schedules_d={"beta2": BETA2}).configure_optimizers()
