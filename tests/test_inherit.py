"""``method.encoder=RUN``: a run's model enters another run, which then stands on its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor

import experiment
import run_folder
from callbacks.checkpoints import AtomicCheckpointIO, read_checkpoint
from callbacks.run_record import read_rows
from config import ConfigError
from networks.mae_checkpoint import save_encoder
from tests.command import ROOT, TINY
from tests.compose import checked, refusal, refused, trained
from tests.lightning_modules.tiny_mae import network

SMALL = [s for s in TINY if not s.startswith(("method.", "callbacks."))]
VIT = [
    f"method.network.{key}={value}"
    for key, value in {
        "patch_size": 2, "embed_dim": 16, "depth": 2, "heads": 2, "decoder_dim": 16,
        "decoder_depth": 1, "decoder_heads": 2,
    }.items()
]  # fmt: skip
KEYS = {f"probe/{kind}/top1" for kind in ("linear", "knn", "linear-random", "knn-random")}


def weights(folder: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = read_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"]
    return state


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``runs/mae``, ``runs/probe`` of it, and the latter resumed."""
    folder = tmp_path_factory.mktemp("inherit")
    trained(folder, "experiment=quick/mae", *SMALL, *VIT, "name=mae")
    probe = [*SMALL, "name=probe", "method.encoder=runs/mae", "budget.steps=10"]
    trained(folder, "experiment=quick/mae_probe", *probe)
    return folder / "runs"


def test_a_run_is_probed_by_one_command(runs: Path) -> None:
    record = json.loads((runs / "probe" / "run.json").read_text())
    assert record["status"] == "finished" and record["final"].keys() == KEYS
    assert all(0 <= share <= 1 for share in record["final"].values())
    saved, original = weights(runs / "probe"), weights(runs / "mae")
    assert original
    for name, tensor in original.items():
        assert torch.equal(saved[f"encoder.{name}"], tensor), name
    random = [
        name for name in original if not torch.equal(saved[f"untrained.{name}"], original[name])
    ]
    assert "network.encoder.blocks.0.attn.qkv.weight" in random


def test_a_probe_goes_on_and_is_loaded_where_the_encoders_run_is_not(
    runs: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(runs / "probe", moved)
    trained(tmp_path, "resume=elsewhere", "budget.steps=14", "logger=none")
    assert max(row["images_seen"] for row in read_rows(moved / "metrics.jsonl")) == 14 * 8
    config = run_folder.read(moved).config
    experiment.check_plain(config)
    module = experiment.load(moved, config, "last", "raw")
    images = torch.zeros(2, *module.image_shape)
    assert module.features(images).shape == (2, 16)
    assert config["method"]["encoder"]["model"]["network"]["embed_dim"] == 16


def build(runs: Path, folder: Path, *changes: str) -> Any:
    config = checked("experiment=quick/mae_probe", *SMALL, f"method.encoder={runs}/mae", *changes)
    return experiment.build(config, folder, "tests").module


def test_a_run_stopped_before_its_first_checkpoint_needs_no_other_run(
    runs: Path, tmp_path: Path
) -> None:
    others = shutil.copytree(runs, tmp_path / "others")
    first = build(others, tmp_path / "new")
    config = checked("experiment=quick/mae_probe", *SMALL, f"method.encoder={others}/mae")
    shutil.rmtree(others)
    again = experiment.build(config, tmp_path / "new", "tests").module
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_the_same_run_is_fine_tuned(runs: Path) -> None:
    config = checked("experiment=quick/mae_finetune", *SMALL, f"method.encoder={runs}/mae")
    assert config["method"]["encoder"]["run"] == f"{runs}/mae"
    assert config["method"]["encoder"]["weights"] == "raw"
    assert experiment.build_module(config).kind == "finetune"


def test_without_a_run_the_network_is_that_of_the_method() -> None:
    for name in ("method=probe", "method=finetune"):
        network = checked(name)["method"]["encoder"]["model"]["network"]
        assert network.items() <= checked("method=mae")["method"]["network"].items()


def test_what_is_no_run_is_refused_before_anything_is_made(runs: Path) -> None:
    line = refusal("experiment=quick/mae_probe", "method.encoder=runs/nothing")
    assert line == "runs/nothing is no run folder: it has no config.yaml"
    line = refusal("experiment=quick/mae_probe", "method.encoder=null")
    assert line == "method.encoder is missing; give a run by method.encoder=runs/NAME"
    assert "unknown key" in refusal("method=ddpm", f"+method.encoder={runs}/mae")


def test_images_of_another_shape_are_refused(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"images are 1 x 12 x 12, but Probe takes 1 x 8 x 8"):
        build(runs, tmp_path, "data.image_size=12")


def run_of(folder: Path, config: dict[str, Any]) -> Path:
    """A run folder of a method that has learnt nothing, its average apart from its weights."""
    folder.mkdir()
    OmegaConf.save(OmegaConf.create(config), folder / "config.yaml")
    (folder / "run.json").write_text("{}")
    module = experiment.build_module(config)
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    averaged = {n: t + 1 for n, t in state.items() if n.startswith(module.ema_modules)}
    content = {"state_dict": state, "counters": {"images_seen": 0}, "ema": {"weights": averaged}}
    AtomicCheckpointIO().save_checkpoint(content, folder / "checkpoints" / "last.ckpt")
    return folder


@pytest.mark.parametrize("method", ["gan", "ddpm"])
def test_a_run_of_any_method_is_probed_by_its_averaged_weights(method: str, tmp_path: Path) -> None:
    config = checked(f"method={method}", *SMALL)
    folder = run_of(tmp_path / method, config)
    config = checked("experiment=quick/mae_probe", *SMALL, f"method.encoder={folder}")
    probe: Any = experiment.build(config, tmp_path / "new", "tests").module
    wanted = experiment.load(folder, run_folder.read(folder).config)
    images = torch.rand(4, *wanted.image_shape) * 2 - 1
    assert torch.equal(probe.eval().features(images), wanted.features(images))
    for name, tensor in wanted.state_dict().items():
        assert torch.equal(tensor, probe.encoder.state_dict()[name]), name


def refused_at_once(place: Path, monkeypatch: pytest.MonkeyPatch, *settings: str) -> str:
    """The line with which a run is refused that has not made its folder in ``place``."""
    monkeypatch.chdir(place)
    line = refused("train.py", *SMALL, *settings, "paths.runs=made")
    assert not (place / "made").exists()
    return line


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["method.network.patch_size=3"], "8 pixels does not divide into patches of 3; choose"),
        (["data.image_size=9"], "9 pixels does not divide into patches of 2; choose"),
        (["method.mask_ratio=1.0"], "mask ratio 1.0 lies outside [0, 1)"),
        (["method.mask_ratio=-0.25"], "mask ratio -0.25 lies outside [0, 1)"),
        (["method.mask_ratio=0.98"], "mask ratio 0.98 leaves none of 16 patches visible"),
        (["callbacks.restoration.tasks=[spiral-75]"], "unknown kind of mask 'spiral'"),
        (["method.initial_weights=nothing.pth"], "no weights at nothing.pth"),
        (
            ["method.initial_weights=wide.safetensors"],
            "in patches of 2 x 2; of another shape: encoder.cls_token (1, 1, 32) for (1, 1, 16), ",
        ),
    ],
)
def test_a_masked_autoencoder_that_cannot_be_leaves_no_folder(
    settings: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_encoder(network(embed_dim=32), tmp_path / "wide.safetensors")
    line = refused_at_once(tmp_path, monkeypatch, "method=mae", *VIT, *settings)
    assert words in line


@pytest.mark.parametrize(
    ("method", "about"),
    [
        ("probe", "DDPM of other has no features to probe (it has: chain, "),
        ("finetune", "DDPM of other is no masked autoencoder, the one method that is fine-tuned"),
    ],
)
def test_a_run_of_a_method_that_cannot_be_probed_leaves_no_folder(
    method: str, about: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = checked("method=ddpm", *SMALL)
    bare = {"in_channels": 1, "out_channels": 1, "kernel_size": 1}
    config["method"]["network"] = {"_target_": "torch.nn.Conv2d", **bare}
    run_of(tmp_path / "other", config)
    line = refused_at_once(tmp_path, monkeypatch, f"method={method}", "method.encoder=other")
    assert line.startswith(about)


def test_weights_that_a_run_has_not_are_refused_before_anything_is_made(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = refused_at_once(tmp_path, monkeypatch, "method=probe", f"method.encoder.run={runs}/mae")
    assert f"the weights of {runs}/mae do not fit method.encoder.model; missing: " in line
    assert "of another shape: network.encoder.cls_token (1, 1, 16) for (1, 1, 128), " in line
    stopped = shutil.copytree(runs / "mae", tmp_path / "stopped")
    shutil.rmtree(stopped / "checkpoints")
    line = refused_at_once(tmp_path, monkeypatch, "method=probe", "method.encoder=stopped")
    assert line.startswith("no checkpoint at stopped/checkpoints/")


def test_the_glue_names_no_method() -> None:
    text = (ROOT / "inherit.py").read_text().lower()
    assert not any(word in text for word in ("mae", "probe.", "finetune", "isinstance(module"))
