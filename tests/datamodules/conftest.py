"""Data modules made as the shipped configuration makes them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from datamodules.base import ImageDataModule

CONF = Path(__file__).parents[2] / "conf" / "data"
Make = Callable[..., ImageDataModule]


@pytest.fixture
def make() -> Make:
    """`make(name, **changes)`: the data module of conf/data/name.yaml with some values changed."""

    def from_configuration(name: str, **changes: Any) -> ImageDataModule:
        settings = yaml.safe_load((CONF / f"{name}.yaml").read_text()) | {"seed": 0} | changes
        module, _, kind = settings.pop("_target_").rpartition(".")
        data: ImageDataModule = getattr(importlib.import_module(module), kind)(**settings)
        return data

    return from_configuration
