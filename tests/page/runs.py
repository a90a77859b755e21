"""Tiny untrained runs as the page has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

import use_page
from tests.command import TINY_DATA
from tests.compose import composed
from tests.lightning_modules.test_mae_generation import TINY_MAE
from tests.run_folders import untrained

QUIET = ["logger=none", "trainer=cpu"]
GAN = ["method=gan", "method.generator.width=8", "method.discriminator.width=8", *QUIET]
DDPM = ["method.label_dropout=0.1", "method.network.num_classes=2", "method.restoring.steps=2"]


def run_folders(place: Path) -> list[Path]:
    """Make runs of three families."""
    return [
        untrained(place / "mae", *QUIET, tiny=[*TINY_MAE, "method.network.patch_size=2"]),
        untrained(place / "gan", *GAN, tiny=TINY_DATA),
        untrained(place / "ddpm", *DDPM),
    ]


def configuration(folders: list[Path], **changes: Any) -> DictConfig:
    """The configuration of ``app.py`` for these runs."""
    usual = composed("trainer=cpu", name="app")
    beside = [str(folder) for folder in folders[1:]]
    named = {"run": str(folders[0]), "beside": beside, "port": 0, **changes}
    return OmegaConf.merge(usual, named)  # type: ignore[return-value]


def desk(folders: list[Path], **changes: Any) -> use_page.RunDesk:
    """The desk of these runs."""
    return use_page.open_desk(configuration(folders, **changes))
