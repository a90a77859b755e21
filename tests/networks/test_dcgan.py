from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from networks.dcgan import Discriminator, Generator


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_at_64_pixels_the_parameters_are_those_of_the_published_layers() -> None:
    # 100 latents, 4 x 4 kernels, 64 to 512 channels: 3,576,704 and 2,765,568 without any bias.
    with torch.device("meta"):
        assert parameters(Generator(100, 3, 64, 64)) == 3_576_704 + 3
        assert parameters(Discriminator(3, 64, 64)) == 2_765_568 + 64 + 1


def test_weights_start_with_the_standard_deviation_of_the_paper() -> None:
    torch.manual_seed(0)
    for network in (Generator(100, 3, 32, 32), Discriminator(3, 32, 32)):
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                assert abs(module.weight.std().item() - 0.02) < 0.002
            elif isinstance(module, nn.BatchNorm2d):
                assert abs(module.weight.mean().item() - 1) < 0.02


@pytest.mark.parametrize("upsample", ["transposed", "nearest", "pixel_shuffle"])
@pytest.mark.parametrize("norm", ["batch", "none"])
def test_every_way_of_doubling_gives_the_size(upsample: str, norm: str) -> None:
    network = Generator(8, 3, 28, 4, norm=norm, upsample=upsample)
    images = network(torch.randn(2, 8))
    assert images.shape == (2, 3, 28, 28)
    assert images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_blocks_let_places_of_the_smallest_map_see_each_other(norm: str) -> None:
    """A change at one place of the projected map reaches one more place per block."""
    torch.manual_seed(0)
    for blocks in (1, 2):
        network = Generator(8, 1, 28, 4, norm=norm, blocks=blocks).eval()
        before = torch.randn(1, 8, 7, 7)
        after = before.clone()
        after[..., 3, 3] += 1
        for block in network.blocks:
            before, after = block(before, None), block(after, None)
        rows, columns = ((after - before).abs().sum(dim=1)[0] > 0).nonzero().T
        reach = set(range(3 - blocks, 4 + blocks))
        assert set(rows.tolist()) == reach == set(columns.tolist())
    with pytest.raises(ValueError, match="blocks is -1"):
        Generator(8, 1, 28, 4, blocks=-1)


def test_blocks_serve_classes_too() -> None:
    network = Generator(8, 1, 28, 4, 3, conditioning="batch_norm", blocks=1)
    images = network(torch.randn(2, 8), torch.tensor([0, 2]))
    assert images.shape == (2, 1, 28, 28)
    images.sum().backward()
    assert network.blocks[0].norm.gain.weight.grad is not None


def test_each_pixel_of_every_upsampling_sees_its_neighbourhood_alone() -> None:
    """A latent map of one hot position lights up only pixels near it."""
    for upsample in ("transposed", "nearest", "pixel_shuffle"):
        up = Generator(8, 1, 28, 4, norm="none", upsample=upsample).ups[-1]
        lit = torch.zeros(1, 4, 14, 14)
        lit[..., 5, 8] = 1
        changed = (up(lit) - up(torch.zeros_like(lit))).abs()[0, 0] > 0
        rows, columns = changed.nonzero().T
        assert {10, 11} <= set(rows.tolist()) <= set(range(8, 14))
        assert {16, 17} <= set(columns.tolist()) <= set(range(14, 20))


def test_classes_differ_by_the_inner_product_with_the_features() -> None:
    torch.manual_seed(0)
    network = Discriminator(3, 32, 8, num_classes=4, norm="none", spectral_norm=True).eval()
    images = torch.rand(5, 3, 32, 32) * 2 - 1
    one, two = torch.tensor([0, 1, 2, 3, 0]), torch.tensor([1, 1, 0, 2, 3])
    table = network.head.embedding.weight
    expected = ((table[one] - table[two]) * network.features(images)).sum(dim=1)
    torch.testing.assert_close(network(images, one) - network(images, two), expected)


def test_features_are_the_mean_of_the_last_maps_whatever_the_conditioning() -> None:
    torch.manual_seed(0)
    images = torch.rand(2, 1, 28, 28)
    for conditioning in ("concat", "projection"):
        network = Discriminator(1, 28, 8, 4, "none", False, conditioning)
        maps = images
        for conv in network.convs:
            maps = nn.functional.leaky_relu(conv(maps), 0.2)
        assert maps.shape == (2, 16, 7, 7)
        torch.testing.assert_close(network.features(images), maps.flatten(2).mean(dim=2))


def test_only_the_class_of_the_image_gets_a_gradient() -> None:
    labels = torch.tensor([1, 1])
    generator = Generator(8, 1, 28, 4, 3, conditioning="batch_norm")
    critic = Discriminator(1, 28, 4, 3)
    critic(generator(torch.randn(2, 8), labels), labels).square().sum().backward()
    tables = [critic.head.embedding, *(norm.shift for norm in generator.norms)]  # type: ignore[list-item]
    for table in tables:
        assert table.weight.grad.abs().amax(dim=1).gt(0).tolist() == [False, True, False]  # type: ignore[union-attr]


def test_dropout_drops_whole_channels_in_training_alone() -> None:
    torch.manual_seed(0)
    network = Discriminator(1, 28, 8, norm="none", dropout=0.5)
    images = torch.rand(64, 1, 28, 28)
    dropped = (network.features(images) == 0).float().mean().item()
    assert 0.4 < dropped < 0.6
    network.eval()
    assert torch.equal(network(images), network(images))
    assert (network.features(images) != 0).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"norm": "layer"}, "norm is 'layer'; give one of batch, none"),
        ({"conditioning": "film"}, "conditioning is 'film'; give one of concat, batch_norm"),
        ({"upsample": "bicubic"}, "upsample is 'bicubic'; give one of transposed"),
        (
            {"norm": "none", "conditioning": "batch_norm", "num_classes": 3},
            "conditioning is batch_norm but norm is none; set norm to batch",
        ),
    ],
)
def test_a_setting_that_does_not_exist_lists_those_that_do(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Generator(8, 1, 28, 4, **settings)
