from __future__ import annotations

import csv
from pathlib import Path

import pytest

from callbacks.file_loggers import CSV
from callbacks.image_logger import ImageLogger
from callbacks.run_record import RunRecord
from tests.callbacks.toy import Toy
from tests.lightning_modules.tiny import data, trainer


def test_csv_has_a_row_for_each_set_of_metrics_over_images_seen(tmp_path: Path) -> None:
    logger = CSV(str(tmp_path))
    run = trainer(tmp_path, [RunRecord()], steps=6, logger=[logger])
    logger.log_hyperparams({"seed": 0})
    run.fit(Toy(), data())
    with open(tmp_path / "csv" / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    trained = [row for row in rows if row["train/loss"]]
    assert [float(row["images_seen"]) for row in trained] == [8, 16, 24, 32, 40, 48]
    validated = [row for row in rows if row["val/loss"]]
    assert [float(row["images_seen"]) for row in validated] == [24, 48]


def test_tensorboard_has_scalars_and_pictures_over_images_seen(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from callbacks.file_loggers import TensorBoard

    logger = TensorBoard(str(tmp_path))
    run = trainer(tmp_path, [RunRecord(), ImageLogger(1)], steps=6, logger=[logger])
    run.fit(Toy(), data())
    logger.experiment.flush()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [8, 16, 24, 32, 40, 48]
    assert [event.step for event in events.Scalars("val/loss")] == [24, 48]
    assert [event.step for event in events.Images("pictures/samples")] == [24, 48]
