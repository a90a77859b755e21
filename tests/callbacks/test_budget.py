from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lightning import Trainer
from lightning.pytorch.callbacks import Callback

from callbacks import budget as budget_module
from callbacks.budget import Budget
from callbacks.checkpoints import Checkpoints
from lightning_modules.base import ImageModule
from tests.callbacks.toy import Toy
from tests.lightning_modules.tiny import data, trainer


def limits(**given: Any) -> Budget:
    return Budget(**{"images": None, "steps": None, "minutes": None, **given})


class Clock(Callback):
    """Time that passes in training steps and in validations only, seconds each.

    Where it is told so, also in what other callbacks do when a validation has ended, and in saves.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: float, validation: float) -> None:
        self.now, self.step, self.validation = 0.0, step, validation
        self.afterwards, self.save = 0.0, 0.0
        monkeypatch.setattr(budget_module.time, "perf_counter", lambda: self.now)

    def on_train_batch_start(self, *args: Any) -> None:
        self.now += self.step

    def on_validation_epoch_end(self, *args: Any) -> None:
        self.now += self.validation

    def on_validation_end(self, *args: Any) -> None:
        self.now += self.afterwards

    def on_save_checkpoint(self, *args: Any) -> None:
        self.now += self.save


def run(folder: Path, *callbacks: Callback, **changes: Any) -> Toy:
    module = Toy()
    trainer(folder, list(callbacks), steps=None, **changes).fit(module, data())
    return module


# Batches of 8, 5 of them in an epoch
@pytest.mark.parametrize(
    ("given", "steps"),
    [
        ({"images": 24}, 3),
        ({"images": 25}, 4),
        ({"steps": 7}, 7),
        ({"images": 16, "steps": 9}, 2),
        ({"images": 160, "steps": 9}, 9),
    ],
)
def test_a_run_ends_at_whichever_limit_is_first(
    tmp_path: Path, given: dict[str, int], steps: int
) -> None:
    module = run(tmp_path, limits(**given))
    assert (module.steps, module.images_seen) == (steps, 8 * steps)
    assert module.progress == 1


def test_minutes_count_training_and_stop_for_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch, step=10, validation=1000)
    given = limits(minutes=1, steps=100)
    module = run(tmp_path, given, clock, val_check_interval=2)
    assert module.steps == 6
    assert given.seconds == 60


@pytest.mark.parametrize("every_n_steps", [None, 1])
def test_minutes_leave_out_pictures_and_the_writing_of_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every_n_steps: int | None
) -> None:
    clock = Clock(monkeypatch, step=10, validation=1000)
    clock.afterwards, clock.save = 300, 500
    given, saves = limits(minutes=1, steps=100), Checkpoints(None, 60, every_n_steps)
    module = run(tmp_path, given, clock, saves, val_check_interval=2)
    assert module.steps == 6
    assert given.seconds == 60
    assert saves.seconds == 500 * (6 if every_n_steps else 3)


class Progress(Callback):
    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *args: Any) -> None:
        self.seen.append(pl_module.progress)


def test_progress_is_the_share_of_the_limit_that_is_nearest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, progress = Clock(monkeypatch, step=12, validation=0), Progress()
    run(tmp_path, limits(images=64, minutes=2, steps=1000), clock, progress)
    # 12 s of 120 s are a tenth, 8 images of 64 an eighth.
    assert progress.seen == pytest.approx([k / 8 for k in range(1, 9)])


def test_a_used_up_budget_trains_no_step_more(tmp_path: Path) -> None:
    module = Toy()
    module.steps, module.images_seen = 5, 40
    trainer(tmp_path, [limits(steps=5)], steps=None).fit(module, data())
    assert module.trained == 0


def test_the_clock_of_a_resumed_run_goes_on() -> None:
    old, new = limits(minutes=2), limits(minutes=2)
    old.seconds = 90
    new.load_state_dict(old.state_dict())
    assert new.progress(ImageModule()) == 0.75


def test_a_run_without_a_budget_is_refused() -> None:
    with pytest.raises(ValueError, match=r"budget\.images, budget\.steps or budget\.minutes"):
        limits()


@pytest.mark.parametrize("given", [{"images": 0}, {"steps": -4}, {"minutes": 0.0}])
def test_a_limit_that_is_not_positive_is_named(given: dict[str, Any]) -> None:
    ((name, value),) = given.items()
    with pytest.raises(ValueError, match=f"budget.{name}={value} must be positive"):
        limits(**given)
