"""conf/data agrees with the constructors that it names."""

from __future__ import annotations

import importlib
import inspect
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from datamodules.base import ImageDataModule

FILES = sorted((Path(__file__).parents[2] / "conf" / "data").glob("*.yaml"))
NAMES = {
    "celeba",
    "cifar10",
    "fake",
    "fashion_mnist",
    "fashion_mnist_mini",
    "image_folder",
    "mnist",
    "mnist_basic",
    "mnist_bg_img",
    "mnist_bg_rand",
    "mnist_rot",
    "rect",
    "shapes",
}


def target(settings: dict[str, Any]) -> Any:
    module, _, kind = settings["_target_"].rpartition(".")
    return getattr(importlib.import_module(module), kind)


def test_every_set_has_its_file() -> None:
    assert {path.stem for path in FILES} >= NAMES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_file_says_what_the_set_is_and_gives_every_parameter(path: Path) -> None:
    assert path.read_text().startswith("# ")
    settings = yaml.safe_load(path.read_text())
    kind = target(settings)
    assert issubclass(kind, ImageDataModule)
    assert kind.name == path.stem
    parameters = inspect.signature(kind).parameters
    assert set(settings) - {"_target_"} == set(parameters)
    assert {p.kind for p in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_parameters_are_plain_types_and_readable_as_attributes(path: Path) -> None:
    settings = yaml.safe_load(path.read_text())
    kind = target(settings)
    values = {key: 3 if key == "seed" else value for key, value in settings.items()}
    values.pop("_target_")
    data = kind(**values)
    hints = typing.get_type_hints(kind.__init__)
    for key, value in values.items():
        allowed = typing.get_args(hints[key]) or (hints[key],)
        assert set(allowed) <= {int, float, bool, str, type(None)}
        elements = value if typing.get_origin(hints[key]) is Sequence else [value]
        assert {type(element) for element in elements} <= set(allowed)
        assert getattr(data, key) == value
