"""Rates and choice of parameters, layer by layer of a real timm ViT."""

from __future__ import annotations

import pytest
import timm
import torch

from functional.layer_decay import layer_of, layer_scale, scale_groups, trained_names
from functional.weight_decay import exempt_from_decay

DEPTH = 3
VIT = timm.create_model(
    "vit_tiny_patch16_224", img_size=8, patch_size=4, embed_dim=8, num_heads=2, depth=DEPTH,
    num_classes=2, global_pool="avg",
)  # fmt: skip
NAMES = [name for name, _ in VIT.named_parameters()]


def test_every_layer_has_its_own_rate_and_the_head_the_whole_one() -> None:
    named = list(VIT.named_parameters())
    optimizer = exempt_from_decay(torch.optim.AdamW(named, lr=0.1, weight_decay=0.05), named)
    scales = {name: layer_scale(layer_of(name, DEPTH), DEPTH, 0.5) for name in NAMES}
    scale_groups(optimizer, named, scales)
    rate = {n: g["lr"] for g in optimizer.param_groups for n in g["param_names"]}
    decay = {n: g["weight_decay"] for g in optimizer.param_groups for n in g["param_names"]}
    assert rate.keys() == set(NAMES)
    assert rate["head.weight"] == rate["fc_norm.weight"] == 0.1
    for i in range(DEPTH):
        assert rate[f"blocks.{i}.attn.qkv.weight"] == pytest.approx(0.1 * 0.5 ** (DEPTH - i))
        assert rate[f"blocks.{i}.mlp.fc2.bias"] == rate[f"blocks.{i}.attn.qkv.weight"]
    assert rate["patch_embed.proj.weight"] == pytest.approx(0.1 * 0.5 ** (DEPTH + 1))
    assert rate["cls_token"] == rate["pos_embed"] == rate["patch_embed.proj.weight"]
    assert len(set(rate.values())) == DEPTH + 2
    assert decay["blocks.0.mlp.fc1.weight"] == 0.05 and decay["blocks.0.mlp.fc1.bias"] == 0


def test_rates_equal_those_of_timm() -> None:
    from timm.optim import param_groups_layer_decay

    groups = param_groups_layer_decay(VIT, layer_decay=0.6)
    theirs = {id(p): g["lr_scale"] for g in groups for p in g["params"]}
    for name, parameter in VIT.named_parameters():
        ours = layer_scale(layer_of(name, DEPTH), DEPTH, 0.6)
        assert ours == pytest.approx(theirs[id(parameter)]), name


def test_half_a_block_is_exactly_its_mlp() -> None:
    assert trained_names(NAMES, DEPTH, 0.5) == {
        f"blocks.2.mlp.{layer}.{kind}" for layer in ("fc1", "fc2") for kind in ("weight", "bias")
    }


def test_the_last_blocks_are_trained_whole() -> None:
    last = {name for name in NAMES if name.startswith("blocks.2.")}
    before = {name for name in NAMES if name.startswith("blocks.1.")}
    assert trained_names(NAMES, DEPTH, 0) == set()
    assert trained_names(NAMES, DEPTH, 1) == last
    assert trained_names(NAMES, DEPTH, 1.5) == last | {n for n in before if ".mlp." in n}
    assert trained_names(NAMES, DEPTH, 2) == last | before
    assert trained_names(NAMES, DEPTH, None) == set(NAMES)


@pytest.mark.parametrize("blocks", [-1, 0.3, 3.5, 4])
def test_blocks_that_there_are_not_are_refused(blocks: float) -> None:
    with pytest.raises(ValueError, match=f"blocks={blocks}; expected 0, 0.5, 1"):
        trained_names(NAMES, DEPTH, blocks)


def test_a_decay_that_grows_is_refused() -> None:
    with pytest.raises(ValueError, match="layer_decay=1.5"):
        layer_scale(0, DEPTH, 1.5)
