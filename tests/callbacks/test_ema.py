from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from callbacks.checkpoints import Checkpoints, read_checkpoint
from callbacks.ema import EMA
from functional.schedule import CosineSchedule, LinearSchedule, value_at
from tests.callbacks.toy import Toy, same, weights
from tests.lightning_modules.tiny import data, trainer

PARAMETERS = [f"network.{layer}.{kind}" for layer in (0, 1, 2) for kind in ("weight", "bias")]
BUFFERS = [f"network.1.{n}" for n in ("running_mean", "running_var", "num_batches_tracked")]


class Recorder(Callback):
    """Keeps the weights that are in the module at every hook."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Tensor]]] = []

    def at(self, hook: str) -> list[dict[str, Tensor]]:
        return [found for name, found in self.seen if name == hook]


def _hook(name: str) -> Any:
    def keep(self: Recorder, trainer: Trainer, module: Any, *args: Any, **kwargs: Any) -> None:
        self.seen.append((name, weights(module)))

    return keep


EVALUATION = [
    "on_validation_start", "on_validation_epoch_start", "on_validation_batch_start",
    "on_validation_batch_end", "on_validation_epoch_end", "on_validation_end",
]  # fmt: skip
TRAINING = ["on_train_start", "on_train_batch_start", "on_before_optimizer_step", "on_train_end"]
for hook in [*EVALUATION, *TRAINING, "on_train_batch_end", "on_test_epoch_end"]:
    setattr(Recorder, hook, _hook(hook))


class Sees(Toy):
    """Keeps the weights that validation_step and the module's own hook see."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[dict[str, Tensor]] = []

    def validation_step(self, *args: Any) -> None:
        self.seen.append(weights(self))

    def on_validation_epoch_end(self) -> None:
        self.seen.append(weights(self))


@pytest.mark.parametrize("decay", [0.3, 0.9])
def test_average_equals_a_float64_recomputation_step_by_step(tmp_path: Path, decay: float) -> None:
    """n counts from 1; the decay of update n is min(decay, (1 + n) / (10 + n))."""
    ema, recorder, module = EMA(decay), Recorder(), Toy()
    wanted = {name: weights(module)[name].double() for name in PARAMETERS}
    trainer(tmp_path, [ema, recorder], steps=9).fit(module, data())
    after = recorder.at("on_train_batch_end")
    assert len(after) == 9
    for n, raw in enumerate(after, 1):
        kept = min(decay, (1 + n) / (10 + n))
        for name in PARAMETERS:
            wanted[name] = kept * wanted[name] + (1 - kept) * raw[name].double()
    assert ema.average.keys() == {*PARAMETERS, *BUFFERS}
    for name in PARAMETERS:
        torch.testing.assert_close(ema.average[name].double(), wanted[name], rtol=1e-5, atol=1e-7)
    # Warm-up: after 9 steps no more than a thousandth of the random start is left.
    left = torch.tensor([min(decay, (1 + n) / (10 + n)) for n in range(1, 10)]).prod()
    assert left < 1e-3


def test_buffers_are_copied_and_other_modules_left_out(tmp_path: Path) -> None:
    ema, module = EMA(0.99), Toy()
    trainer(tmp_path, [ema], steps=5).fit(module, data())
    for name in BUFFERS:
        assert torch.equal(ema.average[name], module.state_dict()[name])
    assert module.state_dict()["network.1.num_batches_tracked"] == 5
    assert not any(name.startswith("other") for name in ema.average)


def test_a_decay_of_0_keeps_the_raw_weights(tmp_path: Path) -> None:
    ema, module = EMA(0.0), Toy()
    trainer(tmp_path, [ema], steps=3).fit(module, data())
    for name, average in ema.average.items():
        assert torch.equal(average, module.state_dict()[name])


@pytest.mark.parametrize("order", itertools.permutations(range(3)))
def test_evaluation_sees_the_average_whatever_the_order_of_callbacks(
    tmp_path: Path, order: tuple[int, ...]
) -> None:
    ema, first, second = EMA(0.9), Recorder(), Recorder()
    callbacks: list[Callback] = [ema, first, second]
    module = Sees()
    fitted = trainer(tmp_path, [callbacks[i] for i in order], steps=3)
    fitted.fit(module, data())
    average = dict(ema.average)
    seen = [found for recorder in (first, second) for h in EVALUATION for found in recorder.at(h)]
    assert len(seen) >= 2 * len(EVALUATION)
    for found in [*seen, *module.seen]:
        assert same({name: found[name] for name in average}, average)
    raw = weights(module)
    assert not same({name: raw[name] for name in average}, average)
    assert same(first.at("on_train_end")[0], raw)
    fitted.test(module, data(), verbose=False)
    for recorder in (first, second):
        (found,) = recorder.at("on_test_epoch_end")
        assert same({name: found[name] for name in average}, average)
    assert same(weights(module), raw)


def test_training_goes_on_from_the_raw_weights_as_if_never_evaluated(tmp_path: Path) -> None:
    def trained(**changes: Any) -> dict[str, Tensor]:
        module = Toy()
        trainer(tmp_path, [EMA(0.9)], steps=9, **changes).fit(module, data())
        return weights(module)

    assert same(trained(val_check_interval=2), trained(limit_val_batches=0))


def averaged(module: Toy, tmp_path: Path) -> EMA:
    ema = EMA(0.9)
    trainer(tmp_path, [ema], steps=2).fit(module, data())
    return ema


def test_raw_weights_come_back_bit_for_bit_also_after_an_exception(tmp_path: Path) -> None:
    module = Toy()
    ema, raw = averaged(module, tmp_path), weights(module)
    with ema.average_parameters(module):
        assert not same(weights(module), raw)
    assert same(weights(module), raw)
    with pytest.raises(KeyError), ema.average_parameters(module):
        raise KeyError
    assert same(weights(module), raw)


def test_the_average_may_be_asked_for_where_it_is_already_in_place(tmp_path: Path) -> None:
    module = Toy()
    ema, raw = averaged(module, tmp_path), weights(module)
    with ema.average_parameters(module):
        average = weights(module)
        with ema.average_parameters(module):
            assert same(weights(module), average)
        assert same(weights(module), average)
    assert same(weights(module), raw)


def test_an_error_in_validation_leaves_the_raw_weights(tmp_path: Path) -> None:
    module, recorder = Toy(fails_at=3), Recorder()
    with pytest.raises(OSError, match="disk went away"):
        trainer(tmp_path, [recorder, EMA(0.9)], steps=6).fit(module, data())
    assert same(weights(module), recorder.at("on_train_batch_end")[-1])


def test_a_checkpoint_written_while_the_average_is_in_place_holds_the_raw_weights(
    tmp_path: Path,
) -> None:
    module, ema, recorder = Toy(), EMA(0.9), Recorder()

    class Scores(Callback):
        def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
            pl_module.report("gen/fid/x@2", 1.0)

    callbacks = [ema, recorder, Scores(), Checkpoints("gen/fid", every_minutes=60)]
    trainer(tmp_path, callbacks, steps=3).fit(module, data())
    best = read_checkpoint(tmp_path / "checkpoints" / "best.ckpt")
    assert same(best["state_dict"], recorder.at("on_train_batch_end")[-1])
    assert same(best["ema"]["weights"], dict(ema.average))
    assert best["ema"]["updates"] == 3
    assert not torch.equal(
        best["ema"]["weights"]["network.0.weight"], best["state_dict"]["network.0.weight"]
    )


def test_a_resumed_run_goes_on_with_the_average(tmp_path: Path) -> None:
    whole, cut, resumed = EMA(0.9), EMA(0.9), EMA(0.9)
    trainer(tmp_path / "whole", [whole], steps=7).fit(Toy(), data())
    last = Checkpoints(None, every_minutes=60)
    trainer(tmp_path / "cut", [cut, last], steps=4).fit(Toy(), data())
    trainer(tmp_path / "cut", [resumed], steps=7).fit(
        Toy(), data(), ckpt_path=tmp_path / "cut" / "checkpoints" / "last.ckpt", weights_only=True
    )
    assert resumed.updates == 7
    assert same(dict(resumed.average), dict(whole.average))


def test_a_checkpoint_without_an_average_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path, [Checkpoints(None, every_minutes=60)], steps=2).fit(Toy(), data())
    with pytest.raises(ValueError, match="callbacks.ema=null"):
        trainer(tmp_path, [EMA(0.9)], steps=4).fit(
            Toy(), data(), ckpt_path=tmp_path / "checkpoints" / "last.ckpt", weights_only=True
        )


def test_weights_that_layers_share_are_averaged_under_every_name(tmp_path: Path) -> None:
    class Shared(Toy):
        def __init__(self) -> None:
            super().__init__()
            one = nn.Conv2d(1, 1, 3, padding=1)
            self.network = nn.Sequential(one, nn.SiLU(), one)

    module, ema = Shared(), EMA(0.9)
    trainer(tmp_path, [ema], steps=4).fit(module, data())
    with ema.average_parameters(module):
        held = weights(module)
    assert not torch.equal(held["network.0.weight"], module.state_dict()["network.0.weight"])
    assert torch.equal(held["network.0.weight"], ema.average["network.0.weight"])
    assert torch.equal(ema.average["network.0.weight"], ema.average["network.2.weight"])


def test_a_method_that_names_no_modules_is_evaluated_with_its_own_weights(tmp_path: Path) -> None:
    class Plain(Toy):
        ema_modules = ()

    module, recorder = Plain(), Recorder()
    trainer(tmp_path, [EMA(0.9), recorder], steps=3).fit(module, data())
    assert module.evaluation_weights is None
    assert same(recorder.at("on_validation_end")[0], recorder.at("on_train_batch_end")[2])


@pytest.mark.parametrize("half_life", [30, CosineSchedule(0.0, 40.0, 48)])
def test_a_half_life_in_images_is_the_closed_form_of_its_name(
    tmp_path: Path, half_life: float | CosineSchedule
) -> None:
    """The images before an update choose its half-life h; 2 ** (-8 / h) of the average stays."""
    ema, recorder, module = EMA(None, half_life), Recorder(), Toy()
    wanted = {name: weights(module)[name].double() for name in PARAMETERS}
    trainer(tmp_path, [ema, recorder], steps=9).fit(module, data())
    for n, raw in enumerate(recorder.at("on_train_batch_end")):
        h = value_at(half_life, 8 * n)
        kept = 2 ** (-8 / h) if h else 0.0
        for name in PARAMETERS:
            wanted[name] = kept * wanted[name] + (1 - kept) * raw[name].double()
    for name in PARAMETERS:
        torch.testing.assert_close(ema.average[name].double(), wanted[name], rtol=1e-5, atol=1e-7)


def test_a_resumed_run_goes_on_with_its_half_life(tmp_path: Path) -> None:
    half_life = LinearSchedule(0.0, 100.0, 80)
    whole, cut, resumed = (EMA(None, half_life) for _ in range(3))
    trainer(tmp_path / "whole", [whole], steps=7).fit(Toy(), data())
    last = Checkpoints(None, every_minutes=60)
    trainer(tmp_path / "cut", [cut, last], steps=4).fit(Toy(), data())
    trainer(tmp_path / "cut", [resumed], steps=7).fit(
        Toy(), data(), ckpt_path=tmp_path / "cut" / "checkpoints" / "last.ckpt", weights_only=True
    )
    assert same(dict(resumed.average), dict(whole.average))


@pytest.mark.parametrize(
    ("decay", "half_life", "words"),
    [
        (None, None, "decay=None and half_life=None"),
        (0.9, 5.0, "decay=0.9 and half_life=5.0"),
        (None, -1.0, "half_life must be 0 or more, got -1.0"),
        (None, LinearSchedule(5.0, -2.0, 9), "got -2.0"),
    ],
)
def test_an_average_takes_a_decay_or_a_half_life(
    decay: float | None, half_life: Any, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        EMA(decay, half_life)


@pytest.mark.parametrize("decay", [1.0, -0.1, 2.0])
def test_a_decay_outside_0_to_1_is_named(decay: float) -> None:
    with pytest.raises(ValueError, match=str(decay)):
        EMA(decay)
