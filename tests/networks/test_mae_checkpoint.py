"""Random weights in the layout of the released checkpoints, against a forward pass of its own."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from networks.mae_checkpoint import load_official, load_weights
from networks.masked_vit import MaskedViT

WIDTH, HEADS, DEPTH = 16, 2, 2
SMALL, SMALL_HEADS, SMALL_DEPTH = 12, 3, 1
PATCH, SIZE, PATCHES = 4, 12, 9


def network(**changes: Any) -> MaskedViT:
    settings: dict[str, Any] = {
        "model": "vit_base_patch16_224", "channels": 3, "image_size": SIZE, "patch_size": PATCH,
        "embed_dim": WIDTH, "depth": DEPTH, "heads": HEADS, "decoder_dim": SMALL,
        "decoder_depth": SMALL_DEPTH, "decoder_heads": SMALL_HEADS,
    }  # fmt: skip
    torch.manual_seed(1)
    return MaskedViT(**{**settings, **changes}).eval()


def block(prefix: str, width: int) -> dict[str, tuple[int, ...]]:
    layers = {
        "attn.qkv": (3 * width, width), "attn.proj": (width, width),
        "mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width),
        "norm1": (width,), "norm2": (width,),
    }  # fmt: skip
    shapes = {}
    for name, shape in layers.items():
        shapes[f"{prefix}.{name}.weight"], shapes[f"{prefix}.{name}.bias"] = shape, shape[:1]
    return shapes


def released(decoder: bool) -> dict[str, Tensor]:
    """Names and shapes of the released files, in small."""
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, WIDTH), "pos_embed": (1, 1 + PATCHES, WIDTH),
        "patch_embed.proj.weight": (WIDTH, 3, PATCH, PATCH), "patch_embed.proj.bias": (WIDTH,),
        "norm.weight": (WIDTH,), "norm.bias": (WIDTH,),
    }  # fmt: skip
    for i in range(DEPTH):
        shapes |= block(f"blocks.{i}", WIDTH)
    if decoder:
        shapes |= {
            "mask_token": (1, 1, SMALL), "decoder_pos_embed": (1, 1 + PATCHES, SMALL),
            "decoder_embed.weight": (SMALL, WIDTH), "decoder_embed.bias": (SMALL,),
            "decoder_norm.weight": (SMALL,), "decoder_norm.bias": (SMALL,),
            "decoder_pred.weight": (48, SMALL), "decoder_pred.bias": (48,),
        }  # fmt: skip
        for i in range(SMALL_DEPTH):
            shapes |= block(f"decoder_blocks.{i}", SMALL)
    generator = torch.Generator().manual_seed(0)
    return {name: 0.5 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


class Reference:
    """The paper's section 3 on a dictionary of tensors: shuffle, encode, unshuffle, decode."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        self.state = state

    def linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self.state[f"{name}.weight"].T + self.state[f"{name}.bias"]

    def norm(self, x: Tensor, name: str) -> Tensor:
        weights = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        return F.layer_norm(x, x.shape[-1:], *weights, 1e-6)

    def block(self, x: Tensor, name: str, heads: int) -> Tensor:
        q, k, v = self.linear(self.norm(x, f"{name}.norm1"), f"{name}.attn.qkv").chunk(3, dim=-1)
        size = x.shape[-1] // heads
        mixed = []
        for h in range(heads):
            part = slice(h * size, (h + 1) * size)
            scores = q[..., part] @ k[..., part].mT / size**0.5
            mixed.append(torch.exp(scores.log_softmax(dim=-1)) @ v[..., part])
        x = x + self.linear(torch.cat(mixed, dim=-1), f"{name}.attn.proj")
        hidden = F.gelu(self.linear(self.norm(x, f"{name}.norm2"), f"{name}.mlp.fc1"))
        return x + self.linear(hidden, f"{name}.mlp.fc2")

    def encode(self, images: Tensor, shuffled: Tensor, keep: int) -> Tensor:
        state = self.state
        kernel, bias = state["patch_embed.proj.weight"], state["patch_embed.proj.bias"]
        x = F.conv2d(images, kernel, bias, stride=PATCH).flatten(2).mT + state["pos_embed"][:, 1:]
        x = x.gather(1, shuffled[:, :keep, None].expand(-1, -1, WIDTH))
        first = (state["cls_token"] + state["pos_embed"][:, :1]).expand(len(x), -1, -1)
        x = torch.cat([first, x], dim=1)
        for i in range(DEPTH):
            x = self.block(x, f"blocks.{i}", HEADS)
        return self.norm(x, "norm")

    def pictures(self, encoded: Tensor, shuffled: Tensor) -> Tensor:
        """Images of the predicted patches, whose channels come last in each pixel."""
        x = self.linear(encoded, "decoder_embed")
        tokens = self.state["mask_token"].expand(len(x), PATCHES + 1 - x.shape[1], -1)
        order = shuffled.argsort(dim=1)[:, :, None].expand(-1, -1, SMALL)
        restored = torch.cat([x[:, 1:], tokens], dim=1).gather(1, order)
        x = torch.cat([x[:, :1], restored], dim=1) + self.state["decoder_pos_embed"]
        for i in range(SMALL_DEPTH):
            x = self.block(x, f"decoder_blocks.{i}", SMALL_HEADS)
        patches = self.linear(self.norm(x, "decoder_norm"), "decoder_pred")[:, 1:]
        pictures = torch.empty(len(x), 3, SIZE, SIZE)
        for i in range(3):
            for j in range(3):
                pixels = patches[:, 3 * i + j].view(-1, PATCH, PATCH, 3).movedim(3, 1)
                pictures[:, :, PATCH * i : PATCH * (i + 1), PATCH * j : PATCH * (j + 1)] = pixels
        return pictures


def drawn(n: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(n, 3, SIZE, SIZE, generator=generator) * 2 - 1
    return images, torch.rand(n, PATCHES, generator=generator).argsort(dim=1)


def test_encoder_and_decoder_give_what_the_layout_says() -> None:
    state, made, (images, shuffled) = released(True), network(), drawn()
    assert load_official(made, {"model": state}) == "encoder and decoder"
    reference = Reference(state)
    encoded = reference.encode(images, shuffled, 3)
    with torch.no_grad():
        torch.testing.assert_close(made.encode(images, shuffled[:, :3]), encoded)
        predicted = made.to_images(made(images, shuffled[:, :3]))
    torch.testing.assert_close(predicted, reference.pictures(encoded, shuffled))


def test_every_released_number_is_in_the_network_and_nothing_else_is() -> None:
    state, made = released(True), network()
    load_official(made, state)
    assert sum(t.numel() for t in state.values()) == sum(p.numel() for p in made.parameters())
    ours = torch.cat([p.detach().flatten() for p in made.parameters()]).sort().values
    assert torch.equal(ours, torch.cat([t.flatten() for t in state.values()]).sort().values)


def test_the_encoder_alone_leaves_the_decoder_as_it_was() -> None:
    made, (images, shuffled) = network(), drawn()
    before = {name: t.clone() for name, t in made.decoder.state_dict().items()}
    assert load_official(made, released(False)) == "encoder"
    wanted = Reference(released(False)).encode(images, shuffled, PATCHES)
    with torch.no_grad():
        torch.testing.assert_close(made.encode(images, shuffled), wanted)
    for name, tensor in made.decoder.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_exported_weights_load_back_as_an_encoder() -> None:
    made, other = network(), network(drop_path=0.1)
    load_official(made, released(True))
    assert load_official(other, made.encoder_state()) == "encoder"
    x, _ = drawn()
    assert torch.equal(other.tokens(x), made.tokens(x))


@pytest.mark.parametrize("decoder", [False, True])
def test_missing_and_left_over_tensors_are_named(decoder: bool) -> None:
    state = released(decoder)
    del state["blocks.1.attn.qkv.bias"]
    state["head.weight"] = torch.zeros(2)
    message = "missing: encoder.blocks.1.attn.qkv.bias; left over: encoder.head.weight."
    with pytest.raises(ValueError, match=re.escape(message)):
        load_official(network(), state)


def test_weights_of_another_width_are_refused_with_names_and_shapes() -> None:
    message = r"of another shape: encoder.cls_token \(1, 1, 16\) for \(1, 1, 24\), .* and \d+ more"
    with pytest.raises(ValueError, match=message):
        load_official(network(embed_dim=24), released(True))
    with pytest.raises(ValueError, match=r"decoder.pred.weight \(48, 12\) for \(192, 12\)"):
        load_official(network(image_size=24, patch_size=8), released(True))


def test_a_network_is_left_alone_by_weights_that_do_not_fit() -> None:
    made = network()
    before = made.encoder.norm.weight.clone()
    with pytest.raises(ValueError, match="left over"):
        load_official(made, {**released(True), "extra": torch.zeros(1)})
    assert torch.equal(made.encoder.norm.weight, before)


def test_a_checkpoint_of_a_training_script_loads_with_its_settings_beside(tmp_path: Path) -> None:
    content = {"model": released(True), "args": argparse.Namespace(lr=1e-4), "epoch": 799}
    torch.save(content, tmp_path / "checkpoint-799.pth")
    assert load_weights(network(), tmp_path / "checkpoint-799.pth") == "encoder and decoder"
    torch.save({"epoch": 799}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other.pth does not hold tensors by name"):
        load_weights(network(), tmp_path / "other.pth")
