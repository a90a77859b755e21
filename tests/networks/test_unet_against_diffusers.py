"""The layout of google/ddpm-cifar10-32 in diffusers, randomly initialised, against ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from networks.unet import AttentionBlock, Level, ResidualBlock, UNet

WIDTHS = (64, 128, 128, 128)


@pytest.fixture(scope="module")
def theirs() -> Any:
    pytest.importorskip("diffusers")
    from diffusers import UNet2DModel

    torch.manual_seed(0)
    model = UNet2DModel(
        sample_size=32, in_channels=3, out_channels=3, layers_per_block=2,
        block_out_channels=WIDTHS,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        downsample_padding=0, flip_sin_to_cos=False, freq_shift=1, norm_eps=1e-6,
        norm_num_groups=32, attention_head_dim=None, time_embedding_type="positional",
    )  # fmt: skip
    return model.eval()


def ours() -> UNet:
    return UNet(
        in_channels=3, out_channels=3, image_size=32, channels=64, multipliers=[1, 2, 2, 2],
        blocks=2, attention_resolutions=[16], dropout=0.1,
    ).eval()  # fmt: skip


def copy(layer: Any, *sources: Any) -> None:
    """Weights of ``layer`` from those of ``sources``, stacked; a 1 x 1 convolution is linear."""
    layer.weight.data.copy_(torch.cat([s.weight for s in sources]).reshape(layer.weight.shape))
    layer.bias.data.copy_(torch.cat([s.bias for s in sources]))


def copy_block(block: ResidualBlock, source: Any) -> None:
    copy(block.norm1, source.norm1)
    copy(block.conv1, source.conv1)
    copy(block.embed, source.time_emb_proj)
    copy(block.norm2, source.norm2)
    copy(block.conv2, source.conv2)
    if isinstance(block.skip, nn.Conv2d):
        copy(block.skip, source.conv_shortcut)
    else:
        assert source.conv_shortcut is None


def copy_attention(block: AttentionBlock, source: Any) -> None:
    copy(block.norm, source.group_norm)
    copy(block.qkv, source.to_q, source.to_k, source.to_v)
    copy(block.out, source.to_out[0])


def in_order(blocks: Any, sampler: str) -> Iterator[Any]:
    """What a level of ours holds, (residual, attention or None), and what lies between levels."""
    for block in blocks:
        attentions = list(getattr(block, "attentions", [])) or [None] * len(block.resnets)
        yield from zip(block.resnets, attentions, strict=True)
        yield from getattr(block, sampler) or []


def copy_path(modules: Any, sources: Iterator[Any]) -> None:
    for module, source in zip(modules, sources, strict=True):
        if not isinstance(module, Level):
            copy(module.conv, source.conv)
            continue
        residual, attention = source
        copy_block(module.block, residual)
        assert isinstance(module.attention, AttentionBlock) == (attention is not None)
        if attention is not None:
            copy_attention(module.attention, attention)


def copy_all(network: UNet, source: Any) -> None:
    copy(network.embed[0], source.time_embedding.linear_1)
    copy(network.embed[2], source.time_embedding.linear_2)
    copy(network.stem, source.conv_in)
    copy_path(network.down, in_order(source.down_blocks, "downsamplers"))
    middle = source.mid_block
    pairs = zip(middle.resnets, [*middle.attentions, None], strict=True)
    copy_path(network.middle, pairs)
    copy_path(network.up, in_order(source.up_blocks, "upsamplers"))
    copy(network.norm_out, source.conv_norm_out)
    copy(network.head, source.conv_out)


def test_the_network_equals_diffusers_with_the_same_weights(theirs: Any) -> None:
    network = ours()
    assert sum(p.numel() for p in network.parameters()) == sum(
        p.numel() for p in theirs.parameters()
    )
    copy_all(network, theirs)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 3, 32, 32, generator=generator)
    t = torch.tensor([3, 871])
    with torch.no_grad():
        wanted: Tensor = theirs(x, t).sample
        got = network(x, t)
    assert wanted.std() > 0.05
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=2e-5)
