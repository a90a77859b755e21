"""Models of diffusers, randomly initialised and saved, as our network with the same outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from networks.diffusers_unet import read_json, read_weights, unet_settings, unet_weights
from networks.unet import UNet

# The layout of google/ddpm-cifar10-32, narrower.
CIFAR10: dict[str, Any] = {
    "sample_size": 16, "in_channels": 3, "out_channels": 3, "layers_per_block": 2,
    "block_out_channels": (64, 128, 128),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    "downsample_padding": 0, "flip_sin_to_cos": False, "freq_shift": 1, "norm_eps": 1e-6,
    "attention_head_dim": None,
}  # fmt: skip
OTHERS: list[dict[str, Any]] = [
    {},
    {
        "in_channels": 1, "out_channels": 1, "layers_per_block": 1, "block_out_channels": (64, 64),
        "down_block_types": ("AttnDownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "AttnUpBlock2D"), "attention_head_dim": 16,
    },
    {
        "sample_size": 12, "layers_per_block": 3, "block_out_channels": (64, 192),
        "down_block_types": ("DownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "UpBlock2D"), "attention_head_dim": 64,
        "resnet_time_scale_shift": "scale_shift", "attn_norm_num_groups": 32, "out_channels": 6,
    },
]  # fmt: skip


def saved(folder: Path, safe: bool, **changes: Any) -> Any:
    """Save a randomly initialised model of diffusers, and give it."""
    module = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    model = module.UNet2DModel(**{**CIFAR10, **changes}).eval()
    model.save_pretrained(folder, safe_serialization=safe)
    return model


def ours(folder: Path) -> UNet:
    settings = unet_settings(read_json(folder / "config.json"))
    network = UNet(**settings).eval()
    network.load_state_dict(unet_weights(read_weights(folder), settings))
    return network


@pytest.mark.parametrize("safe", [True, False])
@pytest.mark.parametrize("changes", OTHERS)
def test_outputs_are_those_of_diffusers(
    tmp_path: Path, changes: dict[str, Any], safe: bool
) -> None:
    theirs, network = saved(tmp_path, safe, **changes), ours(tmp_path)
    shape = {**CIFAR10, **changes}
    size, channels = shape["sample_size"], shape["in_channels"]
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, channels, size, size, generator=generator)
    t = torch.tensor([3, 871])
    with torch.no_grad():
        wanted, got = theirs(x, t).sample, network(x, t)
    assert wanted.std() > 0.05
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=2e-5)
    count = [sum(p.numel() for p in model.parameters()) for model in (theirs, network)]
    assert count[0] == count[1]


def test_names_of_the_first_published_files_are_known(tmp_path: Path) -> None:
    saved(tmp_path, True)
    settings, weights = unet_settings(CIFAR10), read_weights(tmp_path)
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    renamed = {}
    for name, tensor in weights.items():
        for new, before in old.items():
            name = name.replace(f".{new}.", f".{before}.")
        renamed[name] = tensor
    assert renamed.keys() != weights.keys()
    found, wanted = unet_weights(renamed, settings), unet_weights(weights, settings)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"freq_shift": 0}, r"freq_shift=0 \(expected 1\)"),
        ({"resnet_time_scale_shift": "scale_shift"}, "attn_norm_num_groups=None"),
        ({"downsample_padding": 1, "act_fn": "gelu"}, "act_fn='gelu'.*; downsample_padding=1"),
        ({"down_block_types": ("DownBlock2D", "KDownBlock2D", "DownBlock2D")}, "KDownBlock2D"),
        ({"up_block_types": ("UpBlock2D",) * 3}, "attention at other levels"),
        ({"block_out_channels": (64, 96, 128)}, r"block_out_channels=\[64, 96, 128\]"),
        ({"attention_head_dim": 8, "block_out_channels": (64, 128, 256)}, r"\[16, 32\] heads"),
    ],
)
def test_what_our_network_is_not_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        unet_settings({**CIFAR10, **changes})


def test_files_that_are_missing_or_of_another_model_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no model of diffusers: it has no config\.json"):
        read_json(tmp_path / "config.json")
    with pytest.raises(FileNotFoundError, match="has no weights"):
        read_weights(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        read_json(tmp_path / "config.json")
    (tmp_path / "config.json").write_text(json.dumps([]))
    with pytest.raises(ValueError, match="no settings"):
        read_json(tmp_path / "config.json")
    with pytest.raises(ValueError, match="lack time_embedding"):
        unet_weights({}, unet_settings(CIFAR10))
