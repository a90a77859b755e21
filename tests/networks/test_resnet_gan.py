from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from networks.resnet_gan import Discriminator, DownBlock, Generator, UpBlock


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_the_networks_of_miyato_2018_for_cifar_10_have_their_parameters() -> None:
    def conv(c_in: int, c_out: int, kernel: int) -> int:
        return c_in * c_out * kernel**2 + c_out

    up = 2 * conv(256, 256, 3) + conv(256, 256, 1) + 4 * 256
    expected = 129 * 4096 + 3 * up + 2 * 256 + conv(256, 3, 3)
    assert expected == 4_276_739
    assert parameters(Generator(128, 3, 32, 256)) == expected
    first = conv(3, 128, 3) + conv(128, 128, 3) + conv(3, 128, 1)
    expected = first + 6 * conv(128, 128, 3) + conv(128, 128, 1) + 129
    assert expected == 1_053_825
    assert parameters(Discriminator(3, 32, 128)) == expected


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_an_up_block_is_the_published_one_with_the_skip_convolved_after_doubling(mode: str) -> None:
    torch.manual_seed(0)
    block, x = UpBlock(6, 4, num_classes=0, upsample=mode), torch.randn(3, 6, 5, 5)

    def normal(h: torch.Tensor) -> torch.Tensor:
        return F.batch_norm(h, None, None, training=True)

    doubled = nn.Upsample(scale_factor=2, mode=mode)
    h = block.conv1(doubled(normal(x).relu()))
    expected = block.conv2(normal(h).relu()) + block.skip(doubled(x))
    torch.testing.assert_close(block(x, None), expected)


@pytest.mark.parametrize("first", [False, True])
def test_a_down_block_is_the_published_one_with_the_skip_convolved_before_the_mean(
    first: bool,
) -> None:
    torch.manual_seed(0)
    block, x = DownBlock(3, 8, halve=True, first=first), torch.randn(2, 3, 6, 6)
    h = block.conv2(block.conv1(x if first else x.clamp_min(0)).clamp_min(0)) + block.skip(x)
    torch.testing.assert_close(block(x), h.unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(4, 5)))


def test_a_down_block_that_keeps_the_shape_keeps_the_input() -> None:
    block, x = DownBlock(4, 4, halve=False), torch.randn(2, 4, 6, 6)
    nn.init.zeros_(block.conv2.weight)
    torch.testing.assert_close(block(x), x + block.conv2.bias[:, None, None])  # type: ignore[index]


def test_logits_are_linear_in_the_sum_over_positions_plus_the_class_product() -> None:
    torch.manual_seed(0)
    network = Discriminator(3, 32, 8, num_classes=4).eval()
    images = torch.rand(3, 3, 32, 32) * 2 - 1
    maps = network.blocks(images)
    assert maps.shape == (3, 8, 8, 8)
    phi = maps.clamp_min(0).flatten(2).sum(dim=2)
    torch.testing.assert_close(network.features(images), phi)
    labels = torch.tensor([3, 0, 1])
    logits = phi @ network.head.linear.weight[0] + network.head.linear.bias
    logits = logits + torch.einsum("nd,nd->n", phi, network.head.embedding.weight[labels])
    torch.testing.assert_close(network(images, labels), logits)


def test_features_are_the_mean_over_positions_on_request() -> None:
    images, features = torch.rand(2, 3, 32, 32), {}
    for pooling in ("sum", "mean"):
        torch.manual_seed(0)
        features[pooling] = Discriminator(3, 32, 8, pooling=pooling).eval().features(images)
    torch.testing.assert_close(features["mean"], features["sum"] / 64)
    with pytest.raises(ValueError, match="pooling is 'max'; give one of sum, mean"):
        Discriminator(3, 32, 8, pooling="max")


def test_the_networks_for_64_pixels_narrow_and_widen_as_told() -> None:
    generator = Generator(8, 3, 64, 2, multipliers=[16, 8, 4, 2, 1])
    assert [block.conv2.out_channels for block in generator.blocks] == [16, 8, 4, 2]
    critic = Discriminator(3, 64, 2, multipliers=[1, 2, 4, 8, 16], halved_blocks=5)
    images = generator(torch.randn(2, 8))
    assert critic.blocks(images).shape == (2, 32, 2, 2)
    assert critic.features(images).shape == (2, 32)


def test_blocks_that_do_not_fit_the_size_are_refused() -> None:
    with pytest.raises(ValueError, match="2 multipliers for 32 pixels; give 4"):
        Generator(8, 3, 32, 4, multipliers=[2, 1])
    with pytest.raises(ValueError, match="halved_blocks is 5, for 32 pixels and 4 blocks"):
        Discriminator(3, 32, 4, halved_blocks=5)
    with pytest.raises(ValueError, match="halved_blocks is 3, for 28 pixels"):
        Discriminator(1, 28, 4, halved_blocks=3)
    with pytest.raises(ValueError, match="upsample is 'cubic'; give one of nearest, bilinear"):
        Generator(8, 3, 32, 4, upsample="cubic")
