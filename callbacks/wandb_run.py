"""Weights & Biases without surprises: offline unless asked otherwise, never in the way of a run."""

from __future__ import annotations

import logging
import netrc
import os
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import wandb
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

log = logging.getLogger(__name__)
MODES = ("online", "offline", "disabled", "shared")


def resolve_mode(mode: str | None) -> str:
    """Give the mode: as set, else ``WANDB_MODE``, else online where a key is at hand, else offline.

    Raises:
        ValueError: for a mode that W&B does not know.
    """
    chosen = mode or os.environ.get("WANDB_MODE")
    if chosen is None:
        chosen = "online" if _has_key() else "offline"
    if chosen not in MODES:
        raise ValueError(f"unknown W&B mode {chosen!r}; known: {', '.join(MODES)}")
    return chosen


def _has_key() -> bool:
    """Look where ``wandb login`` leaves keys; W&B's own look asks its server, and waits for it."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    server = os.environ.get("WANDB_BASE_URL") or wandb.setup().settings.base_url
    places = [Path(os.environ.get("NETRC") or "~/.netrc"), Path("~/_netrc")]
    file = next((place.expanduser() for place in places if place.expanduser().exists()), None)
    try:
        keys = netrc.netrc(file) if file else None
    except (OSError, netrc.NetrcParseError):
        return False
    hosts = (urlsplit(server).netloc, "api.wandb.ai")
    return keys is not None and any(keys.authenticators(host) for host in hosts)


class WandbRun(WandbLogger):
    """The W&B logger with ``images_seen`` as the axis of every chart.

    Args:
        folder: run folder; W&B's own files go to ``<folder>/wandb``.
        project: W&B project.
        name: shown name of the run.
        id: of the run; the same id goes on with the same run.
        mode: "online", "offline", "disabled", or None (see :func:`resolve_mode`).
        group, tags, job_type, notes, entity: as in ``wandb.init``.
        init_timeout: seconds that an online start may take before the run goes offline.
    """

    def __init__(
        self,
        folder: str,
        project: str,
        name: str,
        id: str,
        mode: str | None,
        group: str | None = None,
        tags: list[str] | None = None,
        job_type: str | None = None,
        notes: str | None = None,
        entity: str | None = None,
        init_timeout: float = 30.0,
    ) -> None:
        self.images_seen = 0
        self.mode = resolve_mode(mode)
        os.makedirs(os.path.join(folder, "wandb"), exist_ok=True)
        # A kill would lose up to 15 s of an offline log with the default interval.
        settings = wandb.Settings(
            x_transaction_log_flush_interval=1, init_timeout=init_timeout, silent=True
        )
        super().__init__(
            name=name, save_dir=folder, project=project, id=id, group=group, tags=tags,
            job_type=job_type, notes=notes, entity=entity, mode=self.mode, resume="allow",
            settings=settings,
        )  # fmt: skip

        self._wandb_init.pop("anonymous", None)

    @property
    def experiment(self) -> Any:
        """The W&B run; it goes offline where the server cannot be reached."""
        try:
            run = super().experiment
        except (wandb.errors.Error, OSError) as error:
            if self._wandb_init.get("mode") == "offline":
                raise
            log.warning(
                "W&B is out of reach (%s); logging offline. `wandb sync` uploads it later",
                str(error).splitlines()[0],
            )
            # The service of the failed start still holds the run's id.
            wandb.teardown()
            self._wandb_init.update(mode="offline", resume=None)
            self.mode = "offline"
            run = super().experiment
        if not getattr(self, "_axis_defined", False) and hasattr(run, "define_metric"):
            self._axis_defined = True
            run.define_metric("images_seen")
            run.define_metric("*", step_metric="images_seen")
        return run

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log ``metrics`` with ``images_seen``; W&B counts its own steps."""
        plain = {key: value for key, value in metrics.items() if key != "epoch"}
        self.experiment.log({"images_seen": self.images_seen, **plain})

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:  # type: ignore[override]
        values = vars(params) if isinstance(params, Namespace) else params
        self.experiment.config.update(values, allow_val_change=True)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Keep the run open between fit and test; ``experiment.finish`` ends it."""
