from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from networks.unet import AttentionBlock, Downsample, Level, UNet, norm, sinusoidal_embedding

SMALL: dict[str, Any] = {
    "in_channels": 1,
    "out_channels": 1,
    "image_size": 8,
    "channels": 8,
    "multipliers": [1, 2],
    "blocks": 1,
    "attention_resolutions": [4],
}
CIFAR10: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "image_size": 32,
    "channels": 128,
    "multipliers": [1, 2, 2, 2],
    "blocks": 2,
    "attention_resolutions": [16],
    "dropout": 0.1,
}


def small(**changes: Any) -> UNet:
    torch.manual_seed(0)
    return UNet(**{**SMALL, **changes})


def scrambled(network: UNet) -> UNet:
    """Zero-initialised layers get weights, so that every part shows in the output."""
    torch.manual_seed(1)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1)
    return network.eval()


def parameters(**settings: Any) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in UNet(**settings).parameters())


def test_the_network_of_ho_2020_for_cifar_10_has_35_746_307_parameters() -> None:
    assert parameters(**CIFAR10) == 35_746_307


def test_the_network_of_ho_2020_for_256_pixels_has_113_673_219_parameters() -> None:
    at_256 = {"image_size": 256, "multipliers": [1, 1, 2, 2, 4, 4]}
    assert parameters(**{**CIFAR10, **at_256}) == 113_673_219


@contextmanager
def multiply_adds(network: nn.Module) -> Iterator[list[int]]:
    """Counts by the definition of a convolution and a matrix product, from the shapes that pass."""
    counts: list[int] = []

    def count(module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, AttentionBlock):
            n, c, height, width = inputs[0].shape
            counts.append(2 * n * c * (height * width) ** 2)  # scores, and the weighted sum
        else:
            positions = output.numel() // module.weight.shape[0]
            counts.append(positions * module.weight.numel())

    counted = (nn.Conv2d, nn.Linear, AttentionBlock)
    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, counted)]
    yield counts
    for hook in hooks:
        hook.remove()


def test_the_network_for_cifar_10_takes_12_44_gflop_at_two_per_multiply_add() -> None:
    """6.22 G multiply-adds: convolutions, linear layers and attention, no norms and no SiLU."""
    with torch.device("meta"):
        network = UNet(**CIFAR10)
        image, t = torch.zeros(1, 3, 32, 32), torch.ones(1)
    with torch.no_grad(), multiply_adds(network) as counts:
        network(image, t)
    assert 2 * sum(counts) == 12_443_713_536
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(image, t)
    assert counter.get_total_flops() == 2 * sum(counts)


def test_a_new_network_gives_zero() -> None:
    out = small()(torch.randn(2, 1, 8, 8), torch.tensor([3.0, 500.0]))
    assert out.abs().max() == 0


def test_blocks_of_a_new_network_are_the_identity() -> None:
    network = small(multipliers=[1], attention_resolutions=[]).eval()
    x = torch.randn(2, 8, 8, 8)
    level = network.down[0]
    torch.testing.assert_close(level(x, torch.randn(2, 32)), x)


@pytest.mark.parametrize(("size", "sizes"), [(28, [28, 14, 7, 4]), (30, [30, 15, 8, 4])])
def test_odd_sizes_are_halved_upwards_and_come_back(size: int, sizes: list[int]) -> None:
    network = scrambled(
        small(image_size=size, multipliers=[1] * 4, attention_resolutions=[sizes[2]])
    )
    seen = [size]
    for module in network.modules():
        if isinstance(module, Downsample):
            module.register_forward_hook(lambda m, i, out: seen.append(out.shape[-1]))
    with torch.no_grad():
        out = network(torch.randn(2, 1, size, size), torch.ones(2))
    assert seen == sizes
    assert out.shape == (2, 1, size, size)
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("resolution", [28, 14, 7, 4])
def test_attention_is_where_the_images_really_have_the_resolution(resolution: int) -> None:
    network = small(
        image_size=28, multipliers=[1, 1, 1, 1], attention_resolutions=[resolution], blocks=2
    )
    seen = []
    for module in network.modules():
        if isinstance(module, AttentionBlock):
            module.register_forward_hook(lambda m, inputs, out: seen.append(out.shape[-1]))
    with torch.no_grad():
        network(torch.randn(1, 1, 28, 28), torch.ones(1))
    # Two blocks down, three up, and the middle, which always attends.
    assert sorted(seen) == sorted([resolution] * 5 + [4])


@pytest.mark.parametrize("channels", [8, 16, 32, 48])
@pytest.mark.parametrize("scale_shift", [True, False])
def test_the_time_reaches_every_residual_block_of_any_width(
    channels: int, scale_shift: bool
) -> None:
    """A norm over single channels would take out an embedding that is added before it."""
    network = scrambled(
        small(channels=channels, multipliers=[1], attention_resolutions=[], scale_shift=scale_shift)
    )
    level, x = network.down[0], torch.randn(1, channels, 8, 8)
    one, other = (level(x, torch.full((1, 4 * channels), v)) for v in (-1.0, 1.0))
    assert (one - other).abs().mean() > 0.01 * one.abs().mean()
    out = network(torch.ones(2, 1, 8, 8), torch.tensor([1.0, 900.0]))
    assert (out[0] - out[1]).abs().mean() > 0.01 * out.abs().mean()


@pytest.mark.parametrize(
    ("channels", "group_size", "groups"),
    [(128, None, 32), (64, None, 32), (32, None, 16), (96, None, 32), (40, None, 20), (6, None, 3),
     (128, 16, 8), (8, 16, 1), (48, 32, 1), (2, None, 1)],
)  # fmt: skip
def test_groups_of_a_norm(channels: int, group_size: int | None, groups: int) -> None:
    assert norm(channels, group_size).num_groups == groups
    assert norm(channels, group_size).eps == 1e-6


def test_every_parameter_is_trained() -> None:
    network = scrambled(small())
    network(torch.ones(2, 1, 8, 8), torch.tensor([1.0, 900.0])).square().sum().backward()
    assert not [n for n, p in network.named_parameters() if p.grad is None]


def test_the_output_of_an_image_depends_on_no_other_image() -> None:
    network = scrambled(small())
    x, t = torch.randn(4, 1, 8, 8), torch.tensor([1.0, 20.0, 300.0, 999.0])
    with torch.no_grad():
        whole = network(x, t)
        for i in range(4):
            torch.testing.assert_close(network(x[i : i + 1], t[i : i + 1]), whole[i : i + 1])


def test_patches_are_folded_into_channels_first() -> None:
    """Space to depth outside and the same network within: equal weights, equal outputs."""
    folded = scrambled(
        small(patch_size=2, in_channels=3, out_channels=3, attention_resolutions=[2])
    )
    plain = small(in_channels=12, out_channels=12, image_size=4, attention_resolutions=[2])
    plain.load_state_dict(folded.state_dict())
    x, t = torch.randn(2, 3, 8, 8), torch.tensor([3.0, 500.0])
    blocks = x.unfold(2, 2, 2).unfold(3, 2, 2)  # (N, C, 4, 4, 2, 2)
    inner = blocks.permute(0, 1, 4, 5, 2, 3).reshape(2, 12, 4, 4)
    with torch.no_grad():
        out = plain.eval()(inner, t).reshape(2, 3, 2, 2, 4, 4)
        wanted = out.permute(0, 1, 4, 2, 5, 3).reshape(2, 3, 8, 8)
        torch.testing.assert_close(folded(x, t), wanted)


def test_attention_is_softmax_of_scaled_products_in_each_head() -> None:
    torch.manual_seed(0)
    block = AttentionBlock(8, heads=2)
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(2, 8, 3, 3)
    with torch.no_grad():
        flat = nn.functional.conv2d(block.norm(x), block.qkv.weight, block.qkv.bias).flatten(2)
        heads = []
        for head in range(2):
            q, k, v = (flat[:, 8 * part + 4 * head : 8 * part + 4 * head + 4] for part in range(3))
            weights = (q.transpose(1, 2) @ k * 4**-0.5).softmax(dim=-1)
            heads.append(v @ weights.transpose(1, 2))
        wanted = x + block.out(torch.cat(heads, dim=1).reshape(2, 8, 3, 3))
        torch.testing.assert_close(block(x), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dim", [8, 9])
def test_times_are_embedded_as_positions_of_the_transformer(dim: int) -> None:
    t = torch.tensor([0.0, 1.0, 250.5])
    wanted = torch.zeros(3, dim)
    for i, k in itertools.product(range(3), range(4)):
        angle = t[i] * 10_000 ** (-k / 3)
        wanted[i, k], wanted[i, 4 + k] = angle.sin(), angle.cos()
    torch.testing.assert_close(sinusoidal_embedding(t, dim), wanted, rtol=1e-4, atol=1e-5)


def test_activations_stay_in_channels_last() -> None:
    network = small()
    for name, parameter in network.named_parameters():
        if parameter.ndim == 4:
            assert parameter.is_contiguous(memory_format=torch.channels_last), name
    strided = []

    def check(module: nn.Module, inputs: Any, output: Tensor) -> None:
        if not output.is_contiguous(memory_format=torch.channels_last):
            strided.append(type(module).__name__)

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.GroupNorm):
            module.register_forward_hook(check)
    network(torch.randn(2, 1, 8, 8), torch.ones(2))
    assert not strided


def test_dropout_acts_in_training_only() -> None:
    network = scrambled(small(dropout=0.5))
    x, t = torch.randn(2, 1, 8, 8), torch.ones(2)
    assert torch.equal(network(x, t), network(x, t))
    network.train()
    assert not torch.equal(network(x, t), network(x, t))


def test_scale_and_shift_of_the_embedding_modulate_the_second_norm() -> None:
    network = scrambled(small(scale_shift=True))
    block, x, e = network.down[0].block, torch.randn(2, 8, 4, 4), torch.randn(2, 32)
    with torch.no_grad():
        scale, shift = block.embed(e)[:, :, None, None].chunk(2, dim=1)
        h = block.norm2(block.conv1(nn.functional.silu(block.norm1(x)))) * (1 + scale) + shift
        wanted = x + block.conv2(nn.functional.silu(h))
        torch.testing.assert_close(block(x, e), wanted)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image_size": 9, "patch_size": 2}, "image_size 9 is not divisible by patch_size 2"),
        ({"blocks": 0}, "got 0"),
        ({"multipliers": []}, r"got 1 and \[\]"),
        ({"multipliers": [1, 1, 1, 1]}, "4 levels halve 8 pixels below 2"),
        ({"heads": 3}, "16 channels do not divide into 3 attention heads"),
        ({"channels": 2}, "channels 2"),
        ({"patch_size": 0}, "patch_size=0"),
        ({"heads": 0}, "heads=0"),
        ({"group_size": -3}, "group_size=-3"),
        ({"multipliers": [0, 1]}, r"multipliers \[0, 1\]"),
    ],
)
def test_wrong_settings_are_refused_with_their_values(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        small(**changes)


@pytest.mark.parametrize("patch_size", [1, 2])
def test_attention_at_a_height_no_level_has_is_refused_with_those_there_are(
    patch_size: int,
) -> None:
    settings = {"image_size": 8 * patch_size, "patch_size": patch_size}
    with pytest.raises(ValueError, match=r"has 16, but the levels have heights 8, 4"):
        small(attention_resolutions=[4, 16], **settings)
    small(attention_resolutions=[4, 8], **settings)


def test_features_are_the_mean_over_positions_after_each_block_of_the_way_up() -> None:
    network, seen = scrambled(small()), []
    levels = [m for m in network.up if isinstance(m, Level)]
    for module in (network.middle[-1], *levels):
        module.register_forward_hook(lambda _, inputs, output: seen.append(output))
    x, t = torch.randn(2, 1, 8, 8), torch.ones(2)
    network(x, t)
    wanted = [maps.mean(dim=(2, 3)) for maps in seen]
    assert len(wanted) == 1 + network.feature_blocks == 5
    for block, maps in enumerate(wanted):
        torch.testing.assert_close(network.features(x, t, block=block), maps)
