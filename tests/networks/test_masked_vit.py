from __future__ import annotations

import time
from statistics import median
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from functional.patches import hidden_patches, patchify, pixels_of_patches
from networks.masked_vit import MaskedViT
from tests.networks.tiny_mae import CHANNELS, GRID, PATCH, PATCHES, SIZE, VALUES, images, network
from tests.networks.tiny_mae import places as drawn_places


def hidden_pixels(visible: Tensor) -> Tensor:
    return pixels_of_patches(hidden_patches(visible, PATCHES), PATCH, SIZE)


@pytest.mark.parametrize("mask_tokens_in_encoder", [False, True])
def test_every_patch_is_predicted(mask_tokens_in_encoder: bool) -> None:
    made = network(mask_tokens_in_encoder=mask_tokens_in_encoder)
    x, visible = images(), drawn_places()
    tokens = made.encode(x, visible)
    assert tokens.shape == (3, 1 + (PATCHES if mask_tokens_in_encoder else 6), 16)
    assert made(x, visible).shape == (3, PATCHES, VALUES)


@pytest.mark.parametrize("mask_tokens_in_encoder", [False, True])
def test_encoder_never_sees_masked_pixels(mask_tokens_in_encoder: bool) -> None:
    made = network(mask_tokens_in_encoder=mask_tokens_in_encoder)
    visible, x = drawn_places(), images().requires_grad_()
    hidden = hidden_pixels(visible)
    others = torch.where(hidden, torch.randn_like(x), x)
    assert torch.equal(made.encode(others, visible), made.encode(x, visible))
    made(x, visible).square().sum().backward()
    assert x.grad is not None
    assert (x.grad.masked_select(hidden) == 0).all()
    assert (x.grad.masked_select(~hidden) != 0).all()


def test_the_order_of_the_visible_patches_does_not_matter() -> None:
    made, x, visible = network(), images(), drawn_places()
    torch.testing.assert_close(made(x, visible.flip(1)), made(x, visible))


def test_with_all_patches_visible_the_encoder_is_timm_s_own_forward_pass() -> None:
    made, x = network(), images()
    everything = torch.arange(PATCHES).expand(3, -1)
    torch.testing.assert_close(made.encode(x, everything), made.encoder.forward_features(x))


def test_predictions_come_back_at_the_place_of_their_patch() -> None:
    """A decoder that lets its input through, fed with the index of each patch."""
    made = network(decoder_dim=16, decoder_heads=2)
    decoder, visible = made.decoder, drawn_places(keep=PATCHES)
    for parameter in decoder.blocks.parameters():
        parameter.data.zero_()
    decoder.pos_embed.data.zero_()
    for layer in (decoder.embed, decoder.pred):
        layer.weight.data.copy_(torch.eye(16))
        layer.bias.data.zero_()
    decoder.norm = torch.nn.Identity()
    index = torch.cat([torch.zeros(3, 1, dtype=torch.long), visible], dim=1)
    fed = index[:, :, None].float().expand(-1, -1, 16)
    assert torch.equal(decoder(fed, visible)[..., 0], torch.arange(24.0).expand(3, -1))


def test_hidden_patches_differ_by_their_position_alone() -> None:
    """All hidden places get the same token; without positions they could not be told apart."""
    made, x, visible = network(), images(), drawn_places()
    hidden = hidden_patches(visible, PATCHES)
    assert made(x, visible)[0][hidden[0]].std(dim=0).min() > 1e-3
    made.decoder.pos_embed.data.zero_()
    predicted = made(x, visible)[0][hidden[0]]
    torch.testing.assert_close(predicted, predicted[:1].expand_as(predicted))


@pytest.mark.parametrize("mask_tokens_in_encoder", [False, True])
def test_every_trainable_parameter_gets_a_gradient(mask_tokens_in_encoder: bool) -> None:
    """DistributedDataParallel fails on a parameter that gets none."""
    made = network(mask_tokens_in_encoder=mask_tokens_in_encoder)
    made(images(), drawn_places()).square().sum().backward()
    fixed = {name for name, p in made.named_parameters() if not p.requires_grad}
    assert fixed == {"encoder.pos_embed", "decoder.pos_embed"}
    without = {name for name, p in made.named_parameters() if p.grad is None}
    assert without == fixed


# Cost


def operations(made: MaskedViT, keep: int) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        made.encode(images(1), drawn_places(1, keep))
    return int(counter.get_total_flops())


@pytest.mark.parametrize("keep", [1, 6, 24])
def test_the_encoder_costs_what_the_visible_patches_cost(keep: int) -> None:
    tokens, width = 1 + keep, 16
    block = 2 * tokens * 12 * width**2 + 2 * 2 * tokens**2 * width
    assert operations(network(), keep) == 2 * keep * VALUES * width + 2 * block


def test_mask_tokens_in_the_encoder_cost_the_whole_image() -> None:
    made = network(mask_tokens_in_encoder=True)
    embedding = 2 * (24 - 6) * VALUES * 16
    assert operations(made, 6) == operations(network(), 24) - embedding


def test_encoding_a_quarter_takes_less_than_half_the_time() -> None:
    """In turns, by the clock of the process; a quarter of the tokens cost a quarter and more."""
    made = network(image_size=[32, 32], embed_dim=96, depth=4, decoder_depth=1)
    x = torch.randn(16, CHANNELS, 32, 32)
    places = torch.rand(16, 128).argsort(dim=1)

    def seconds(keep: int) -> float:
        start = time.process_time()
        made.encode(x, places[:, :keep]).sum().backward()
        return time.process_time() - start

    pairs = [(seconds(32), seconds(128)) for _ in range(6)]
    quarter, whole = (median(times) for times in zip(*pairs[1:], strict=True))
    assert quarter < 0.5 * whole


# Scale of pixels


def test_images_come_back_from_their_own_targets() -> None:
    made = network(mean=[0.4, 0.6], std=[0.2, 0.3])
    x = images()
    torch.testing.assert_close(made.to_images(made.targets(x)), x)
    first = ((x[:, 0] + 1) / 2 - 0.4) / 0.2
    torch.testing.assert_close(made.normalise(x)[:, 0], first)


def test_without_statistics_the_platform_s_range_is_left_alone() -> None:
    assert torch.equal(network().targets(images()), patchify(images(), PATCH))


# Whole images


def test_features_are_the_class_token_or_the_mean_of_the_patches() -> None:
    made, x = network(), images()
    tokens = made.encoder(x)
    assert torch.equal(made.features(x, "token"), tokens[:, 0])
    torch.testing.assert_close(made.features(x, "mean"), tokens[:, 1:].mean(dim=1))


def test_intermediates_are_the_outputs_of_the_blocks() -> None:
    made, x, seen = network(), images(), []
    for block in made.encoder.blocks:
        block.register_forward_hook(lambda _, inputs, output: seen.append(output))
    made.encoder(x)
    wanted = list(seen)
    for got, want in zip(made.intermediates(x), wanted, strict=True):
        assert torch.equal(got, want)
    torch.testing.assert_close(made.encoder.norm(made.intermediates(x)[-1]), made.tokens(x))


def test_attention_of_the_class_token_gives_its_output() -> None:
    """Weights that sum to 1 with the class token's own; with values all alike they give them."""
    made, x = network(), images()
    maps = made.attention(x)
    assert maps.shape == (3, 2, *GRID)
    assert (maps > 0).all() and (maps.sum(dim=(2, 3)) < 1).all()
    attention, seen = made.encoder.blocks[-1].attn, []
    attention.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    made.encoder(x)
    (tokens, output), = seen  # fmt: skip
    values = attention.qkv(tokens)[..., 32:].unflatten(2, (2, 8)).transpose(1, 2)
    own = 1 - maps.flatten(2).sum(dim=2, keepdim=True)
    weights = torch.cat([own, maps.flatten(2)], dim=2)
    mixed = (weights[:, :, None] @ values).squeeze(2).flatten(1)
    torch.testing.assert_close(attention.proj(mixed), output[:, 0])


def test_an_encoder_without_class_token_has_means_and_maps() -> None:
    made = network(model="vit_medium_patch16_gap_240")
    assert made.features(images(), "mean").shape == (3, 16)
    assert made(images(), drawn_places()).shape == (3, PATCHES, VALUES)
    torch.testing.assert_close(made.attention(images()).sum(dim=(2, 3)), torch.ones(3, 2))
    with pytest.raises(ValueError, match="no class token; use pooling mean"):
        made.features(images(), "token")


def test_registers_pass_through_encoder_and_decoder() -> None:
    made = network(model="vit_small_patch14_reg4_dinov2")
    x, everything = images(), torch.arange(PATCHES).expand(3, -1)
    torch.testing.assert_close(made.encode(x, everything), made.encoder.forward_features(x))
    assert made(x, drawn_places()).shape == (3, PATCHES, VALUES)


def test_bf16_is_close_to_float32() -> None:
    made, x, visible = network(), images(), drawn_places()
    with torch.autocast("cpu", torch.bfloat16):
        half = made(x, visible)
    assert not made.encoder.blocks[0].attn.fused_attn
    wanted = made(x, visible)
    assert made.encoder.blocks[0].attn.fused_attn
    assert half.dtype == torch.bfloat16
    assert (half.float() - wanted).norm() < 0.03 * wanted.norm()


# Sizes and mistakes


def test_vit_base_with_the_papers_decoder_has_its_parameters() -> None:
    made = MaskedViT("vit_base_patch16_224", 3, 224, 16, 512, 8, 16)
    assert sum(p.numel() for p in made.parameters()) == 111_907_840
    assert sum(p.numel() for p in made.encoder.parameters()) == 85_798_656


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 30}, "30 pixels does not divide into patches of 4"),
        ({"image_size": [8, 8, 8]}, "expected one number, or height and width"),
        ({"model": "vit_tiny_patch16"}, "did you mean vit_tiny_patch16_"),
        ({"model": "resnet18", "embed_dim": None, "depth": None, "heads": None}, "resnet18"),
        ({"model": "swin_tiny_patch4_window7_224"}, "swin_tiny"),
        ({"heads": 5}, "num_heads"),
        ({"embed_dim": 18}, "width of 18 .* multiple of 4"),
        ({"decoder_dim": 12, "decoder_heads": 5}, "width 12 and 5 heads"),
        ({"decoder_depth": 0}, "depth 0"),
        ({"mean": [0.5]}, "expected 2 numbers each"),
        ({"std": [0.5, 0.0]}, "std above 0"),
    ],
)
def test_settings_that_make_no_network_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network(**changes)


def test_an_unknown_pooling_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown pooling 'max'; known: token, mean"):
        network().features(images(), "max")
