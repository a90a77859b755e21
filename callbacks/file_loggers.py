"""Local loggers with the platform's axis and the run folder as their place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only


class CSV(CSVLogger):
    """Writes ``csv/metrics.csv`` in the run folder."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder, name="csv", version="")
        self.images_seen = 0

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        super().log_metrics({"images_seen": self.images_seen, **metrics}, step)


class TensorBoard(TensorBoardLogger):
    """Writes TensorBoard events to ``tensorboard/`` in the run folder, charted over images seen."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder, name="tensorboard", version="")
        self.images_seen = 0

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        super().log_metrics(metrics, self.images_seen)
