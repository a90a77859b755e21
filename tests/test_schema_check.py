"""What a configuration may name, and what it may hand to what it names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from omegaconf import OmegaConf

import experiment
from config import ConfigError
from functional.noise_schedule import LinearPath, NoiseSchedule
from schema_check import check_tree, fits, resolve_target
from tests.compose import checked, composed, refusal

DANGEROUS = [
    "os.system",
    "subprocess.run",
    "builtins.open",
    "builtins.eval",
    "shutil.rmtree",
    "pathlib.Path.unlink",
    "torch.load",
    "torch.hub.load",
    "torch.save",
    "torch.jit.load",
    "torch.utils.data.DataLoader",
    "lightning.pytorch.Trainer.fit",
    "timm.create_model",
    "torchvision.datasets.FakeData",
    "hydra.utils.instantiate",
    # through a package that is allowed
    "datamodules.base.torch.load",
    "callbacks.checkpoints.os.system",
    "callbacks.checkpoints.pickle.loads",
    "experiment.load",
    "command_line.run",
    # our own, but they write, read and start things
    "callbacks.run_record.write_json",
    "callbacks.pictures.save_picture",
    "datamodules.assets.make_fashion_mnist_mini.main",
    "metrics.extractors.build_extractor",
    # methods of classes that are allowed
    "callbacks.run_record.MetricsFile.rewind",
    "torch.nn.Module.load_state_dict",
]
WAYS: list[Callable[[str], dict[str, Any]]] = [
    lambda target: {"_target_": target},
    lambda target: {"_target_": target, "_partial_": True},
    lambda target: {"deep": {"down": [{"x": 1}, {"_target_": target}]}},
    lambda target: {"_target_": "torch.nn.Sequential", "_args_": [{"_target_": target}]},
]


@pytest.mark.parametrize("target", DANGEROUS)
@pytest.mark.parametrize("way", WAYS)
def test_a_dangerous_target_is_refused_wherever_it_stands(
    target: str, way: Callable[[str], dict[str, Any]]
) -> None:
    with pytest.raises(ConfigError) as caught:
        check_tree(way(target), "method")
    assert "_target_" in str(caught.value) and repr(target) in str(caught.value)


@pytest.mark.parametrize("target", ["os.system", "torch.load", "datamodules.base.torch.load"])
@pytest.mark.parametrize(
    "node", ["method", "method.network", "data", "callbacks.ema", "logger", "trainer"]
)
def test_a_dangerous_target_of_the_command_line_is_refused(target: str, node: str) -> None:
    assert target in refusal(f"{node}._target_={target}")


def test_a_target_that_an_interpolation_makes_is_refused_as_it_resolves() -> None:
    config = composed("notes=system", "method.network._target_=os.${notes}")
    with pytest.raises(ConfigError, match=r"'os\.system' is refused"):
        experiment.check(config)


@pytest.mark.parametrize("target", [None, 3, ["os", "system"], {"_target_": "os.system"}, ""])
def test_a_target_that_is_no_name_is_refused(target: Any) -> None:
    with pytest.raises(ConfigError, match="_target_"):
        check_tree({"_target_": target}, "method")


def test_a_target_that_does_not_exist_is_named() -> None:
    with pytest.raises(ConfigError, match=r"cannot import 'networks\.unet\.UNett'"):
        resolve_target("networks.unet.UNett", "method.network")
    with pytest.raises(ConfigError, match=r"cannot import 'networks\.nowhere\.X'"):
        resolve_target("networks.nowhere.X", "method.network")


@pytest.mark.parametrize(
    "target",
    [
        "torch.optim.AdamW",
        "torch.nn.GELU",
        "torch.optim.lr_scheduler.StepLR",
        "torchvision.models.resnet.ResNet",
        "lightning.pytorch.Trainer",
        "lightning.pytorch.strategies.DDPStrategy",
        "lightning.pytorch.callbacks.EarlyStopping",
        "torchmetrics.image.FrechetInceptionDistance",
        "networks.unet.UNet",
        "networks.unet.zero_init",
        "functional.diffusion.simple_loss",
        "functional.noise_schedule.LinearPath",
        "lightning_modules.ddpm.DDPM",
        "callbacks.ema.EMA",
    ],
)
def test_what_is_made_to_be_configured_is_allowed(target: str) -> None:
    assert callable(resolve_target(target, "x"))


def test_keys_and_completeness_are_those_of_the_constructor() -> None:
    node = {"_target_": "functional.noise_schedule.VariancePreserving", "stepss": 10}
    with pytest.raises(ConfigError, match=r"unknown key x\.stepss; did you mean 'steps'"):
        check_tree(node, "x")
    missing = checked()["method"]
    del missing["warmup_steps"]
    with pytest.raises(ConfigError, match=r"method\.warmup_steps is missing"):
        check_tree(missing, "method")


def test_a_node_of_another_kind_is_refused() -> None:
    method = checked()["method"]
    method["schedule"] = {"_target_": "functional.time_sampling.TimeSampler"}
    with pytest.raises(ConfigError, match=r"method\.schedule=.*expected NoiseSchedule"):
        check_tree(method, "method")
    method = checked()["method"]
    method["optimizer"]["_partial_"] = False
    with pytest.raises(ConfigError, match=r"method\.optimizer"):
        check_tree(method, "method")


PARTIAL = {"_target_": "torch.optim.SGD", "_partial_": True}
PATH = {"_target_": "functional.noise_schedule.LinearPath"}


@pytest.mark.parametrize(
    ("value", "hint", "wanted"),
    [
        (1, int, True),
        (True, int, False),
        (1.0, int, False),
        ("1", int, False),
        (None, int, False),
        (1, float, True),
        (True, float, False),
        (True, bool, True),
        (1, bool, False),
        ("a", str, True),
        (1, str, False),
        (None, str | None, True),
        (3, str | None, False),
        (3, int | str, True),
        ([1, 2], list[int], True),
        ([1, "a"], list[int], False),
        ("ab", list[str], False),
        ("ab", Sequence[str], False),
        ([0.9, 0.99], tuple[float, float], True),
        ({"a": 1}, dict[str, int], True),
        ([1], dict[str, int], False),
        ("a", Literal["a", "b"], True),
        ("c", Literal["a", "b"], False),
        ("x", Any, True),
        ("/data", Path, True),
        (3, Path, False),
        ("linear", NoiseSchedule, False),
        (PATH, NoiseSchedule, True),
        (PATH, LinearPath, True),
        (PATH, torch.nn.Module, False),
        (PARTIAL, Callable[..., Any], True),
        (PARTIAL, torch.optim.Optimizer, False),
        ("adam", Callable[..., Any], False),
    ],
)
def test_a_value_fits_its_annotation(value: Any, hint: Any, wanted: bool) -> None:
    assert fits(value, hint) is wanted


def test_lists_and_dicts_reach_constructors_as_plain_ones() -> None:
    config = OmegaConf.create({"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.1})
    made = experiment.make({"_target_": "torch.nn.Sequential"})
    assert isinstance(made, torch.nn.Sequential)
    plain: Any = OmegaConf.to_container(config)
    optimizer = experiment.make(plain)([torch.nn.Parameter(torch.zeros(1))])
    assert type(optimizer.param_groups[0]["lr"]) is float
    network: Any = experiment.build_module(checked("method.network.channels=16"))
    assert type(network.sampling.steps) is int
