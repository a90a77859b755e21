from __future__ import annotations

import math

import pytest
import torch
from scipy.signal import upfirdn
from torch import Tensor, nn

from networks.r3gan import Basis, Block, Discriminator, Generator, Resample


def test_a_block_starts_as_the_identity_and_then_leaves_it() -> None:
    block, x = Block(8, expansion=2, group_size=4, residual_blocks=4), torch.randn(2, 8, 5, 5)
    assert torch.equal(block(x), x)
    block(x).square().sum().backward()
    assert block.conv3.weight.grad is not None and block.conv3.weight.grad.abs().max() > 0


@pytest.mark.parametrize("residual_blocks", [1, 16])
def test_the_first_convolutions_start_at_he_times_the_fourth_root_of_the_depth(
    residual_blocks: int,
) -> None:
    torch.manual_seed(0)
    block = Block(64, expansion=2, group_size=16, residual_blocks=residual_blocks)
    he = {block.conv1: math.sqrt(2 / 1.04 / 64), block.conv2: math.sqrt(2 / 1.04 / (16 * 9))}
    for layer, std in he.items():
        expected = std * residual_blocks**-0.25
        assert layer.weight.std().item() == pytest.approx(expected, rel=0.03)


def test_every_block_of_a_network_counts_as_depth() -> None:
    torch.manual_seed(0)
    for network in (
        Generator(8, 1, 32, [64] * 4, blocks=4),
        Discriminator(1, 32, [64] * 4, blocks=4),
    ):
        blocks = [m for m in network.modules() if isinstance(m, Block)]
        assert len(blocks) == 16
        for block in blocks:
            assert block.conv1.weight.std().item() == pytest.approx(
                math.sqrt(2 / 1.04 / 64) / 2, rel=0.06
            )


def test_the_middle_convolution_mixes_channels_of_one_group_alone() -> None:
    block = Block(4, expansion=2, group_size=2, residual_blocks=1)
    x = torch.randn(1, 8, 3, 3, requires_grad=True)
    block.conv2(x)[:, :2].sum().backward()
    assert x.grad is not None
    reached = x.grad.abs().amax(dim=(0, 2, 3)) > 0
    assert reached.tolist() == [True, True] + 6 * [False]


def test_networks_hold_no_normalisation() -> None:
    for network in (Generator(8, 1, 28, [16] * 3), Discriminator(1, 28, [16] * 3)):
        layers = {type(m) for m in network.modules() if not list(m.children())}
        assert layers <= {nn.Conv2d, nn.Linear, nn.Identity}
        assert network.state_dict().keys() == dict(network.named_parameters()).keys()


@pytest.mark.parametrize("up", [True, False])
@pytest.mark.parametrize("channels", [3, 5])
def test_resampling_is_the_filter_1_3_3_1_over_zeros(up: bool, channels: int) -> None:
    """Against SciPy's, for each map; channels change before or after it alike."""
    torch.manual_seed(0)
    layer, x = Resample(3, channels, up), torch.randn(2, 3, 6, 6, dtype=torch.float64)
    rows = x.numpy()
    for axis in (2, 3):
        rows = upfirdn([1, 3, 3, 1], rows, *((2, 1) if up else (1, 2)), axis=axis)
        # What of the filter lies beyond the border by one place, at either end.
        rows = rows.take(range(1, 1 + (12 if up else 3)), axis) / (4 if up else 8)
    torch.testing.assert_close(layer.double()(x), layer.mix(torch.from_numpy(rows)))


def test_doubling_is_bilinear_inside() -> None:
    x = torch.randn(2, 3, 6, 6)
    bilinear = nn.functional.interpolate(x, scale_factor=2.0, mode="bilinear")
    doubled = Resample(3, 3, up=True)(x)
    torch.testing.assert_close(doubled[..., 1:-1, 1:-1], bilinear[..., 1:-1, 1:-1])


def test_the_input_layer_scales_learnt_maps_by_a_linear_map_of_the_latent() -> None:
    torch.manual_seed(0)
    basis, z = Basis(6, 3, base=4), torch.randn(2, 6)
    expected = torch.einsum("nz,cz,hwc->nchw", z, basis.linear.weight, basis.maps)
    torch.testing.assert_close(basis(z), expected)


def test_features_weigh_each_last_map_by_a_filter_of_its_own() -> None:
    torch.manual_seed(0)
    network, images = Discriminator(1, 28, [16] * 3), torch.rand(2, 1, 28, 28)
    maps: Tensor = network.layers(network.stem(images))
    expected = torch.einsum("nchw,chw->nc", maps, network.pool.weight[:, 0])
    torch.testing.assert_close(network.features(images), expected)


def test_classes_enter_by_learnt_vectors_of_their_own_length() -> None:
    torch.manual_seed(0)
    labels, z = torch.tensor([2, 0]), torch.randn(2, 6)
    g = Generator(6, 1, 28, [16] * 3, num_classes=3, class_dim=5)
    assert g.embedding is not None and g.embedding.weight.shape == (3, 5)
    joined = torch.cat([z, g.embedding.weight[labels]], dim=1)
    torch.testing.assert_close(g(z, labels), torch.tanh(g.head(g.layers(g.basis(joined)))))
    d, images = Discriminator(1, 28, [16] * 3, num_classes=3, class_dim=5), torch.rand(2, 1, 28, 28)
    vectors = d.features(images) @ d.head.linear.weight.T
    expected = torch.einsum("nd,nd->n", vectors, d.head.embedding.weight[labels])
    torch.testing.assert_close(d(images, labels), expected)


def test_the_networks_for_cifar_10_have_the_parameters_of_their_layers() -> None:
    """Four sizes of width 768, two blocks each, 96 groups of 16; G's classes as vectors of 64."""
    block = 768 * 1536 + 1536 + 1536 * 16 * 9 + 1536 + 1536 * 768
    with torch.device("meta"):
        g = Generator(64, 3, 32, [768] * 4, 10, tanh=False, class_dim=64)
        d = Discriminator(3, 32, [768] * 4, 10, class_dim=768)
    of_g = 16 * 768 + 128 * 768 + 10 * 64 + 8 * block + 768 * 3
    of_d = 3 * 768 + 8 * block + 16 * 768 + 768 * 768 + 10 * 768
    assert sum(p.numel() for p in g.parameters()) == of_g == 20_781_952
    assert sum(p.numel() for p in d.parameters()) == of_d == 21_280_512


def test_images_are_bounded_only_with_tanh() -> None:
    z = 1000 * torch.randn(4, 8)
    assert Generator(8, 1, 28, [16] * 3)(z).abs().max() <= 1
    assert Generator(8, 1, 28, [16] * 3, tanh=False)(z).abs().max() > 1


def test_widths_and_groups_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"2 widths and 2 blocks for 32 pixels; give 4 widths"):
        Generator(8, 3, 32, [16, 16])
    with pytest.raises(ValueError, match="0 blocks"):
        Discriminator(3, 32, [16] * 4, blocks=0)
    with pytest.raises(ValueError, match="group_size 16 does not divide 12 x 2 channels"):
        Discriminator(3, 32, [12] * 4)
