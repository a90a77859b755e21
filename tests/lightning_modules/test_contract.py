"""What every method has from ``lightning_modules.base``: counters, randomness, clipping."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning import LightningModule
from torch import Tensor, nn

from callbacks.ema import EMA
from callbacks.run_record import RunRecord, read_rows
from datamodules.base import Batch
from lightning_modules.base import CAPABILITIES, ImageModule
from lightning_modules.classifier import Classifier
from lightning_modules.dae import DAE
from lightning_modules.ddpm import DDPM
from tests.callbacks.toy import Toy, same, weights
from tests.lightning_modules.tiny import data, ddpm, trainer


def batch(n: int) -> Batch:
    return Batch(torch.zeros(n, 1, 8, 8), torch.zeros(n).long(), torch.arange(n))


def attached(module: ImageModule, seed: int, rank: int, world_size: int) -> ImageModule:
    """``module`` as one of ``world_size`` processes."""
    module._trainer = SimpleNamespace(  # type: ignore[assignment]
        world_size=world_size,
        global_rank=rank,
        datamodule=SimpleNamespace(seed=seed),
        strategy=SimpleNamespace(global_rank=rank),
    )
    return module


def test_what_a_method_does_not_provide_says_so() -> None:
    module = ImageModule()
    assert module.capabilities == frozenset() and module.previews(batch(1)) == {}
    with pytest.raises(NotImplementedError, match="ImageModule cannot sample"):
        module.sample(1, seeds=[0])
    with pytest.raises(NotImplementedError, match="cannot restore"):
        module.restore(torch.zeros(1, 1, 2, 2), None, seeds=[0])
    with pytest.raises(NotImplementedError, match="no features"):
        module.features(torch.zeros(1, 1, 2, 2))


@pytest.mark.parametrize("method", [DAE, DDPM, Classifier])
def test_capabilities_are_methods_that_the_class_overrides(method: type[ImageModule]) -> None:
    assert method.capabilities <= set(CAPABILITIES)
    for name in set(CAPABILITIES) - {"chain"}:
        overridden = getattr(method, name) is not getattr(ImageModule, name)
        assert overridden == (name in method.capabilities)
    assert hasattr(method, "chain") == ("chain" in method.capabilities)


def test_a_row_holds_only_what_its_own_batch_logged(tmp_path: Path) -> None:
    class Sparse(Toy):
        def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
            if self.steps % 2 == 0:
                self.log("train/rare", float(self.steps))
            return super().training_step(batch, batch_idx)

    trainer(tmp_path, [], steps=4, val_check_interval=100).fit(Sparse(), data())
    rows = read_rows(tmp_path / "metrics.jsonl")
    found = [row.get("train/rare") for row in rows if "train/loss" in row]
    assert found == [None, 2.0, None, 4.0]


def test_lightning_is_told_only_what_becomes_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    log = LightningModule.log

    def keep(self: Any, name: str, *given: Any, **settings: Any) -> None:
        told.append(self.steps) if name == "train/loss" else None
        log(self, name, *given, **settings)

    monkeypatch.setattr(LightningModule, "log", keep)
    settings = {"steps": 8, "log_every_n_steps": 3, "val_check_interval": 4}
    trainer(tmp_path, [RunRecord()], **settings).fit(Toy(), data())
    rows = read_rows(tmp_path / "metrics.jsonl")
    assert told == [3, 6]
    assert [row["images_seen"] for row in rows if "train/loss" in row] == [24, 48]
    assert [row["images_seen"] for row in rows if "val/loss" in row] == [32, 64]


def test_counting_operations_leaves_a_network_as_it_was() -> None:
    network = Toy().train().network
    network[2].eval()
    before = weights(network)
    assert ImageModule.count_flops(network, (1, 8, 8)) > 0
    assert same(weights(network), before)
    assert [part.training for part in network] == [True, True, False]


def test_images_of_all_processes_are_counted() -> None:
    module = attached(ImageModule(), 0, 1, 4)
    module.on_train_batch_start(batch(8), 0)
    module.on_train_batch_start(batch(8), 1)
    assert (module.images_seen, module.steps) == (64, 2)


def test_counters_survive_a_checkpoint() -> None:
    module, other, checkpoint = ImageModule(), ImageModule(), {}
    module.images_seen, module.steps = 640, 10
    module.on_save_checkpoint(checkpoint)
    other.on_load_checkpoint(checkpoint)
    assert (other.images_seen, other.steps) == (640, 10)


def drawn(seed: int, steps: int, rank: int) -> Tensor:
    """The noise of a step, as that process draws it after whatever came before."""
    module = attached(ImageModule(), seed, rank, 2)
    torch.seed()
    module.steps = steps - 1
    module.on_train_batch_start(batch(1), 0)
    return torch.randn(4)


def test_randomness_of_a_step_is_a_function_of_seed_step_and_rank() -> None:
    assert torch.equal(drawn(0, 5, 0), drawn(0, 5, 0))
    others = [drawn(1, 5, 0), drawn(0, 6, 0), drawn(0, 5, 1)]
    assert not any(torch.equal(drawn(0, 5, 0), other) for other in others)


def test_operations_of_a_compiled_network_are_counted_without_compiling_it() -> None:
    network, compiled = (nn.Conv2d(1, 4, 3, padding=1) for _ in range(2))
    compiled.compile(fullgraph=True, backend="eager")
    for counted in (network, compiled):
        # Two operations for each of 9 weights, at each of 64 places of 4 channels.
        assert ImageModule.count_flops(counted, (1, 8, 8)) == 2 * 9 * 64 * 4


@pytest.mark.parametrize("limit", [0.5, 1e9])
@pytest.mark.parametrize("measured", [True, False])
def test_clipping_is_torchs_clipping_by_the_global_norm(limit: float, measured: bool) -> None:
    module, wanted = nn.Linear(4, 3), nn.Linear(4, 3)
    wanted.load_state_dict(module.state_dict())
    for network in (module, wanted):
        network(torch.ones(2, 4)).square().sum().backward()
    holder = ImageModule()
    holder._trainer = SimpleNamespace(precision_plugin=object())  # type: ignore[assignment]
    total = nn.utils.clip_grad_norm_(wanted.parameters(), limit)
    holder.gradient_norm = total if measured else None
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    holder.configure_gradient_clipping(optimizer, limit, "norm")
    assert holder.gradient_norm is None
    for ours, theirs in zip(module.parameters(), wanted.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


class WithJudge(DDPM):
    """A method that keeps a part of itself in evaluation mode while it trains."""

    judge: nn.Module
    modes: list[tuple[bool, bool]]

    def on_train_start(self) -> None:
        self.judge.eval()
        self.modes = []

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.modes.append((self.network.training, self.judge.training))
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.modes.append((self.network.training, self.judge.training))


def test_validation_puts_every_part_back_in_the_mode_it_was_in(tmp_path: Path) -> None:
    module: Any = ddpm()
    module.__class__ = WithJudge
    module.judge = nn.Dropout()
    module.train()
    trainer(tmp_path, [EMA(0.9)], steps=4).fit(module, data())
    # Three steps, two batches of validation, one step.
    assert module.modes[:6] == [(True, False)] * 3 + [(False, False)] * 2 + [(True, False)]
