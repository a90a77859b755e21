from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.callbacks import Callback

from callbacks import throughput as throughput_module
from callbacks.run_record import MetricsFile, read_rows
from callbacks.throughput import Throughput
from tests.callbacks.toy import Toy
from tests.lightning_modules.tiny import data, trainer


class Clock(Callback):
    """A step takes half a second, a validation a hundred."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(throughput_module.time, "perf_counter", lambda: self.now)

    def on_train_batch_start(self, *args: Any) -> None:
        self.now += 0.5

    def on_validation_epoch_end(self, *args: Any) -> None:
        self.now += 100


def test_images_per_second_are_those_of_training_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    throughput = Throughput(every_n_steps=2)
    trainer(tmp_path, [Clock(monkeypatch), throughput], steps=8).fit(Toy(), data())
    logged = {
        row["throughput/images_per_second"]
        for row in read_rows(tmp_path / "metrics.jsonl")
        if "throughput/images_per_second" in row
    }
    assert logged == {16.0}
    assert throughput.images_per_second == throughput.mean_images_per_second == 16


class Known(Toy):
    def forward_flops(self) -> int:
        return 3_000_000


class Listener(MetricsFile):
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self.params = params


def test_every_logger_hears_how_much_work_an_image_is(tmp_path: Path) -> None:
    """Not the first one alone, which is the run's own file and has no place for it."""
    listener = Listener(str(tmp_path))
    loggers = [MetricsFile(str(tmp_path)), listener]
    trainer(tmp_path, [Throughput(1)], steps=1, logger=loggers).fit(Known(), data())
    assert listener.params == {"forward_tflop_per_image": 3e-6}
