"""The benchmark runs for a method of either kind; what it measures is for a quiet machine."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

from benchmarks.bare_loop import OneLoss, TwoPlayers, bare_loop
from benchmarks.train_step import Interleave, measure
from functional.gan_regularizers import Penalty
from functional.seeding import derive_seed
from tests.command import TINY, TINY_DATA
from tests.lightning_modules.test_gan import gan, weights
from tests.lightning_modules.tiny import data, ddpm, trainer

TINY_GAN = [
    "method=gan",
    *TINY_DATA,
    "method.generator.width=4",
    "method.discriminator.width=4",
    "trainer.precision=32-true",
    "trainer.accelerator=cpu",
]
TINY_MAE = [
    "method=mae",
    *TINY_DATA,
    "method.network.patch_size=2",
    "method.network.embed_dim=16",
    "method.network.depth=1",
    "trainer.precision=32-true",
    "trainer.accelerator=cpu",
]


@pytest.mark.parametrize(
    "settings",
    [TINY, [*TINY_GAN, "method.n_critic=2"], ["method=dae", *TINY], TINY_MAE],
    ids=["ddpm", "gan", "dae", "mae"],
)
def test_the_benchmark_compares_block_with_block(settings: list[str]) -> None:
    GlobalHydra.instance().clear()
    timing: Interleave = measure(settings, steps=2, blocks=3)
    assert len(timing.trainer_seconds) == len(timing.bare_seconds) == len(timing.ratios) == 3
    assert all(ratio > 0 for ratio in timing.ratios)


def test_the_bare_loop_leaves_the_module_and_trains_its_copy() -> None:
    module, source = ddpm().train(), data()
    loop = bare_loop(module, source, 1.0, 0.1)
    before = weights(module)
    loop.run(2)
    assert isinstance(loop, OneLoss)
    assert torch.equal(weights(module), before)
    assert not torch.equal(weights(loop.module), before)


@pytest.mark.parametrize("loss", ["hinge", "relativistic"])
def test_the_bare_loop_of_a_gan_takes_the_steps_of_the_method(tmp_path: Path, loss: str) -> None:
    settings = {"loss": loss, "penalties": [Penalty("r1", 1.0, 1)], "weight_clip": 0.05}
    module, source = gan(**settings), data()
    loop = bare_loop(module.train(), source, None, 0.1)
    assert isinstance(loop, TwoPlayers)
    source.setup("fit")
    batch = next(iter(source.train_dataloader()))
    torch.manual_seed(derive_seed(0, 1, 0))
    loop.step(batch)
    trainer(tmp_path, [], steps=1).fit(module, datamodule=data())
    assert not torch.equal(weights(gan().generator), weights(module.generator))
    torch.testing.assert_close(weights(loop.module), weights(module), rtol=1e-6, atol=1e-8)
    assert all(p.requires_grad for p in loop.module.parameters())


def test_the_bare_loop_of_a_gan_steps_g_after_every_nth_step_of_d() -> None:
    loop = bare_loop(gan(n_critic=2).train(), data(), None, 0.1)
    before = weights(loop.module.generator)
    loop.run(1)
    assert torch.equal(weights(loop.module.generator), before)
    loop.run(1)
    assert not torch.equal(weights(loop.module.generator), before)


def test_micro_batches_are_not_for_the_bare_loop() -> None:
    with pytest.raises(ValueError, match="method.micro_batches=1"):
        bare_loop(gan(micro_batches=2), data(), None, 0.1)


def test_a_scheduler_that_gets_worse_with_more_steps_is_reported_and_ours_converges() -> None:
    """DDIM of diffusers takes T // K as its stride, whatever times its spacing gives it."""
    report = pytest.importorskip("benchmarks.diffusers_schedulers")
    trailing = {"timestep_spacing": "trailing", "clip_sample": False}
    settings = {**report.BETAS, "num_train_timesteps": 1000, **trailing}
    case = report.Case("DDIM", settings)
    _, verdict = report.measured(lambda steps: report.theirs(case, steps))
    assert "more steps make it worse" in verdict
    ours = report.measured(lambda steps: report.ours("ddim", report.CHAIN, steps, "trailing"))
    assert ours[1] == "" and float(ours[0][-1]) < 0.005
    page = report.report([("DDIM", "trailing", *report.measured(lambda steps: (0.1, steps)))])
    assert "**fails**: 0.100 away after 300 steps" in page
    assert "1 of 1 settings of diffusers fail" in page
