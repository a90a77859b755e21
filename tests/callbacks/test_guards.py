from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback

from callbacks.checkpoints import Checkpoints, read_checkpoint
from callbacks.ema import EMA
from callbacks.guards import Guards, NonFiniteLoss
from callbacks.run_record import RunRecord, read_rows
from tests.callbacks.toy import Toy
from tests.lightning_modules.tiny import data, trainer


@pytest.mark.parametrize("bad_step", [1, 4])
def test_a_loss_that_is_not_finite_ends_the_run_within_its_step(
    tmp_path: Path, bad_step: int
) -> None:
    module = Toy(bad_step=bad_step)
    with pytest.raises(NonFiniteLoss, match=f"nan at step {bad_step} .*last good checkpoint"):
        trainer(tmp_path, [Guards(1)], steps=50).fit(module, data())
    assert module.trained == bad_step


def test_the_last_good_checkpoint_is_kept(tmp_path: Path) -> None:
    module = Toy(bad_step=5)
    callbacks = [Checkpoints(None, every_minutes=60, every_n_steps=1), Guards(1), EMA(0.9)]
    with pytest.raises(NonFiniteLoss):
        trainer(tmp_path, [*callbacks, RunRecord()], steps=50).fit(module, data())
    kept = read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    assert kept["counters"] == {"images_seen": 32, "steps": 4}
    weights = [*kept["state_dict"].values(), *kept["ema"]["weights"].values()]
    assert all(torch.isfinite(tensor).all() for tensor in weights)
    # What is in memory is spoilt: the file is what counts.
    assert not all(torch.isfinite(p).all() for p in module.parameters())


class Norms(Callback):
    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        gradients = [p.grad.flatten() for p in pl_module.parameters() if p.grad is not None]
        self.seen.append(float(torch.cat(gradients).norm()))


def test_the_norm_of_the_gradient_before_clipping_is_logged(tmp_path: Path) -> None:
    norms = Norms()
    trainer(tmp_path, [Guards(1), norms], steps=6, gradient_clip_val=1e-3).fit(Toy(), data())
    rows = [row for row in read_rows(tmp_path / "metrics.jsonl") if "train/gradient_norm" in row]
    assert [row["train/gradient_norm"] for row in rows] == pytest.approx(norms.seen)
    assert min(norms.seen) > 1e-3


class Game(Toy):
    """Two optimisers, the second of which steps at every fifth batch alone."""

    automatic_optimization = False

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(part.parameters(), lr=0.01) for part in (self.network, self.other)]

    def optimizer_label(self, optimizer: torch.optim.Optimizer) -> str:
        return "_g" if optimizer.param_groups[0]["params"][0] is self.other.weight else "_d"

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        first, second = self.optimizers()  # type: ignore[misc]
        for optimizer in [first] + [second] * (self.steps % 5 == 0):
            optimizer.zero_grad()
            loss = self.network(batch.images).square().mean() + self.other.weight.square().sum()
            self.manual_backward(loss)
            optimizer.step()


def test_the_norm_of_an_optimiser_that_steps_seldom_is_in_every_row(tmp_path: Path) -> None:
    saved: dict[int, Any] = {}

    class Keeps(Callback):
        def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *args: Any) -> None:
            saved[pl_module.steps] = guards.state_dict()

    guards = Guards(3)
    every_third: dict[str, Any] = {"steps": 12, "log_every_n_steps": 3, "val_check_interval": 12}
    trainer(tmp_path, [guards, Keeps()], **every_third).fit(Game(), data(size=200))
    rows = read_rows(tmp_path / "metrics.jsonl")
    found = [row["train/gradient_norm_g"] for row in rows if "train/gradient_norm_g" in row]
    fifth, tenth = (saved[step]["latest"]["_g"] for step in (5, 10))
    assert found == [fifth, fifth, tenth] and fifth != tenth  # of steps 6, 9 and 12
    again = Guards(3)
    again.load_state_dict(saved[10])
    assert again.state_dict() == saved[10]


class Elsewhere(Toy):
    """A module that says it is on a GPU, so that nothing waits for its gradient."""

    @property
    def device(self) -> torch.device:
        return torch.device("cuda")


def before_a_check(device: type[Toy], scaler: object = None) -> tuple[Guards, Any, Toy, Any]:
    guards, module = Guards(100), device()
    for parameter in module.parameters():
        parameter.grad = torch.full_like(parameter, float("inf"))
    run = SimpleNamespace(
        precision_plugin=SimpleNamespace(scaler=scaler),
        strategy=SimpleNamespace(reduce=lambda loss, reduce_op: loss),
    )
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    guards.on_before_optimizer_step(run, module, optimizer)  # type: ignore[arg-type]
    return guards, run, module, optimizer


@pytest.mark.parametrize("hook", ["on_train_batch_start", "on_validation_start", "on_train_end"])
def test_on_a_gpu_the_check_is_made_before_anything_else_may_happen(hook: str) -> None:
    """Before the next step, before validation, and before the end writes a last checkpoint."""
    guards, run, module, _ = before_a_check(Elsewhere)
    guards.on_train_batch_end(run, module, {"loss": torch.tensor(0.0)}, None, 0)
    with pytest.raises(NonFiniteLoss, match="inf"):
        getattr(guards, hook)(run, module, *([None, 0] if hook == "on_train_batch_start" else []))


def test_overflow_that_a_gradient_scaler_handles_is_no_divergence() -> None:
    guards, run, module, optimizer = before_a_check(Toy, scaler=object())
    guards.on_train_batch_end(run, module, {"loss": torch.tensor(0.5)}, None, 0)
    guards.on_before_optimizer_step(run, module, optimizer)
    with pytest.raises(NonFiniteLoss):
        guards.on_train_batch_end(run, module, {"loss": torch.tensor(float("nan"))}, None, 0)


@pytest.mark.parametrize("bad_rank", [0, 1])
def test_under_a_scaler_all_ranks_stop_for_the_loss_of_one(bad_rank: int) -> None:
    """A rank that stops alone would leave the others waiting for its gradient."""
    losses = [torch.tensor(float("nan") if rank == bad_rank else 0.5) for rank in range(2)]
    for loss in losses:
        guards, run, module, _ = before_a_check(Toy, scaler=object())
        run.strategy.reduce = lambda loss, reduce_op: torch.stack(losses).mean()
        with pytest.raises(NonFiniteLoss, match="the loss became nan"):
            guards.on_train_batch_end(run, module, {"loss": loss}, None, 0)


def test_a_healthy_run_is_left_alone(tmp_path: Path) -> None:
    one, other = Toy(), Toy()
    trainer(tmp_path / "one", [Guards(1)], steps=4).fit(one, data())
    trainer(tmp_path / "other", [], steps=4).fit(other, data())
    for ours, theirs in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)
