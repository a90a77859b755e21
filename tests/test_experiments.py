"""Every shipped experiment composes, builds and, on data and networks made small, runs."""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

import experiment
from callbacks.run_record import read_rows
from lightning_modules.base import ImageModule
from lightning_modules.gan import GAN
from lightning_modules.mae import MAE
from tests.command import ROOT
from tests.compose import checked

FOLDER = ROOT / "conf" / "experiment"
EXPERIMENTS = sorted(
    str(path.relative_to(FOLDER).with_suffix("")) for path in FOLDER.rglob("*.yaml")
)
BATCH = 8
# What is made smaller wherever it stands in a method, and what it becomes at most.
SMALL = {
    "width": 8, "channels": 8, "z_dim": 8, "class_dim": 4, "dim": 16, "steps": 4, "blocks": 1,
    "embed_dim": 48, "depth": 2, "decoder_dim": 48, "decoder_depth": 1, "labels": 10,
    "components": 2, "axes": 4, "pretrain_images": BATCH,
}  # fmt: skip


def small(node: Any, key: str = "") -> Any:
    """A method's settings with its networks and samplers made small; images keep their shape."""
    if isinstance(node, dict):
        # Below a network that takes images, "channels" are those of the images.
        of_images = "image_size" in node and "in_channels" not in node
        return {
            k: v if of_images and k == "channels" else small(v, str(k)) for k, v in node.items()
        }
    if key == "widths":
        return [16] * len(node)
    if key == "multipliers":
        return [1] * len(node)
    if key == "step_size":
        return 1.0  # few steps fall far
    if key in SMALL and isinstance(node, int):
        return min(node, SMALL[key])
    return node


def fake_data(data: dict[str, Any]) -> dict[str, Any]:
    """Stripes in the shape and number of classes of ``data``, held out as it holds out.

    Points are drawn as they are needed: fewer of them.
    """
    if "noise" in data:
        sizes = {"batch_size": BATCH, "size": 5 * BATCH, "validation_size": 16, "test_size": 16}
        return {**data, **sizes}
    same = ("channels", "image_size", "num_classes", "seed", "horizontal_flip")
    return {
        **{key: data[key] for key in same},
        "_target_": "datamodules.fake.Fake",
        "batch_size": BATCH,
        "validation_size": min(data.get("validation_size", 16), 16),
        "resident": "cpu",
        "size": 5 * BATCH,
        "test_size": BATCH,
    }


QUIET = [
    "logger=none", "trainer.accelerator=cpu", "trainer.precision=32-true",
    "trainer.log_every_n_steps=1",
]  # fmt: skip


def shipped(*overrides: str) -> dict[str, Any]:
    """A command line's experiment as it ships, writing nothing outside the folder one is in."""
    return checked(*overrides, *QUIET, "paths.data=data", "paths.cache=cache")


def shrunk(*overrides: str) -> dict[str, Any]:
    """A command line's experiment as it ships but for sizes, data, extractor and budget."""
    return made_small(shipped(*overrides))


def made_small(config: dict[str, Any]) -> dict[str, Any]:
    """Two steps of G, or two steps, of small networks on few images, and a small validation."""
    steps = 2 * config["method"].get("n_critic", 1)
    if "pretrain_images" in config["method"]:
        steps += len(config["method"]["network"]["widths"])
    if "multipliers" in config["method"].get("network", {}):
        of_at_most(64, config)
    config["method"], config["data"] = small(config["method"]), fake_data(config["data"])
    config["budget"].update(images=None, steps=steps, minutes=None)
    config["callbacks"]["budget"].update(config["budget"])
    config["validate_every_images"] = BATCH * steps
    for callback in config["callbacks"].values():
        if callback and "n" in callback:
            callback["n"] = 8
            callback.update({"n_final": 9} if "n_final" in callback else {})
    if config["callbacks"].get("generation"):
        config["callbacks"]["generation"].update(extractor="fmnist_cnn", metrics=["fid"], n_final=9)
    experiment.check_plain(config)
    return config


def of_at_most(pixels: int, config: dict[str, Any]) -> None:
    """Make the images, and what is told of them, no larger than ``pixels``."""
    told = config["data"], config["method"], config["method"]["network"]
    for node in (node for node in told if "image_size" in node):
        node["image_size"] = min(node["image_size"], pixels)


def parameters(network: Any) -> int:
    return sum(p.numel() for p in network.parameters())


def run(config: dict[str, Any], folder: Path) -> tuple[ImageModule, dict[str, float]]:
    """Train, validate and test; give the module and what was logged last, by key."""
    with contextlib.chdir(folder):
        return _run(config, folder)


def _run(config: dict[str, Any], folder: Path) -> tuple[ImageModule, dict[str, float]]:
    built = experiment.build(config, folder, "tests")
    built.module.chunk_size = 8
    built.trainer.fit(built.module, datamodule=built.data)
    built.trainer.test(built.module, datamodule=built.data, verbose=False)
    rows = read_rows(folder / "metrics.jsonl")
    return built.module, {key: value for row in rows for key, value in row.items()}


Outcome = tuple[ImageModule, dict[str, float], Path]


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    """What came of settings, made small: some experiments then differ in nothing."""
    return {}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_trains_and_is_scored(
    name: str, outcomes: dict[str, Outcome], tmp_path: Path
) -> None:
    config = shrunk(f"experiment={name}")
    settings = json.dumps(config, sort_keys=True)
    if settings not in outcomes:
        outcomes[settings] = (*run(config, tmp_path), tmp_path)
    module, seen, folder = outcomes[settings]
    assert module.progress == 1.0 and math.isfinite(seen["train/loss"])
    assert (folder / "checkpoints" / "last.ckpt").exists()
    if isinstance(module, MAE):
        assert (folder / "checkpoints" / "best.ckpt").exists()
    if "sample" in module.capabilities:
        # In a validation, also where no image is held out for it, and at the end.
        score = "fid/fmnist_cnn" if module.image_shape[1] > 1 else "energy/points"
        assert {f"gen/{score}@8", f"gen/{score}@9"} <= seen.keys()
        assert list((folder / "samples").glob("*.png"))
    if isinstance(module, GAN):
        assert module.averaged_steps == 2 and math.isfinite(seen["train/loss_g"])
        assert all(seen[f"train/{penalty.name}"] > 0 for penalty in module.penalties)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_says_how_long_it_trains_and_what_it_is(name: str) -> None:
    config = shipped(f"experiment={name}")
    assert any(config["budget"].values())
    assert experiment.build_data(config).batch_size == config["data"]["batch_size"]
    header = (FOLDER / f"{name}.yaml").read_text().split("defaults:")[0]
    assert header.startswith("# @package _global_\n# ") and len(header) > 100
    if name.startswith("paper/"):
        assert "Expected: " in header and "Mark" in header
        assert config["budget"]["minutes"] is None
        if "FID" in header:
            assert config["callbacks"]["generation"]["extractor"] == "inception"


CLASSES = ["generator", "discriminator"]


@pytest.mark.parametrize("network", ["dcgan", "resnet", "mlp", "infogan", "r3gan"])
def test_a_gan_is_conditional_by_two_settings_alone(network: str, tmp_path: Path) -> None:
    places = [f"{part}@method.{part}={network}" for part in CLASSES]
    classes = [f"method.{part}.num_classes=${{data.num_classes}}" for part in CLASSES]
    config = shrunk("method=gan", "data=fake", *places, *classes)
    trained, _ = run(config, tmp_path)
    assert list((tmp_path / "samples").glob("*classes*.png"))
    module = experiment.load(tmp_path, config, "last", "raw")
    one, other = torch.tensor([1, 1]), torch.tensor([1, 7])
    images = module.sample(2, seeds=[5, 6], labels=one)
    changed = (module.sample(2, seeds=[5, 6], labels=other) - images).abs().amax(dim=(1, 2, 3))
    assert changed[0] < 1e-5 < changed[1]
    torch.testing.assert_close(images, trained.eval().sample(2, seeds=[5, 6], labels=one))
    # Without labels an image's seed draws its class.
    torch.testing.assert_close(
        module.sample(2, seeds=[5, 6]), module.sample(2, seeds=[5, 6], labels=torch.tensor([5, 6]))
    )


def test_a_gan_whose_networks_disagree_on_the_classes_is_refused() -> None:
    config = shrunk("method=gan", "data=fake", "method.generator.num_classes=10")
    with pytest.raises(Exception, match="num_classes=10, the discriminator on 0"):
        experiment.build_module(config)


# Parameters, where the paper, its code or its layer list says how many

INFOGAN_G = 64 * 1024 + 2 * 1024 + 1024 * 6272 + 2 * 6272 + 128 * 64 * 16 + 2 * 64 + 64 * 16 + 1
INFOGAN_D = 64 * 16 + 64 + 64 * 128 * 16 + 6272 * 1024 + 1024 + 1
PARAMETERS = {
    "paper/ddpm_cifar10": {"network": 35_746_307},
    "paper/ddpm_celebahq256": {"network": 113_673_219},
    "paper/sngan_cifar10": {"generator": 4_276_739, "discriminator": 1_053_825},
    "paper/wgan_gp_cifar10": {"generator": 4_276_739, "discriminator": 1_053_825},
    "paper/r3gan_cifar10": {"generator": 20_781_952, "discriminator": 21_280_512},
    "paper/gan_2014_mnist": {
        "generator": 101 * 1200 + 1201 * 1200 + 1201 * 784,
        "discriminator": 785 * 1200 + 241 * 1200 + 241,
    },
    **{
        f"paper/lucic_{row}_{data}": {
            "generator": INFOGAN_G,
            "discriminator": INFOGAN_D + (1024 + 128 if row == "wgan_gp" else 2 * 1024 + 2 * 128),
        }
        for row in ("minimax", "non_saturating", "lsgan", "wgan", "wgan_gp")
        for data in ("mnist", "fashion_mnist")
    },
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_published_network_has_its_parameters(name: str) -> None:
    method = shipped(f"experiment={name}")["method"]
    # Layers without their numbers, which spectral norms alone begin by looking at.
    with torch.device("cpu" if name == "paper/sngan_cifar10" else "meta"):
        found = {part: parameters(experiment.make(method[part])) for part in PARAMETERS[name]}
    assert found == PARAMETERS[name]
