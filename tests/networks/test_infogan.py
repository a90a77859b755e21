from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from networks.infogan import Discriminator, Generator


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_at_28_pixels_the_parameters_are_those_of_the_published_layers() -> None:
    """Dense 1024, dense 7 x 7 x 128, 4 x 4 to 64, 4 x 4 to 1; batch norm in place of biases."""
    dense = 64 * 1024 + 2 * 1024 + 1024 * 6272 + 2 * 6272
    convolved = 128 * 64 * 16 + 2 * 64 + 64 * 1 * 16 + 1
    assert parameters(Generator(64, 1, 28)) == dense + convolved == 6_634_881
    first, second = 1 * 64 * 16 + 64, 64 * 128 * 16
    dense, last = 6272 * 1024, 1024 + 1
    normed = first + second + 2 * 128 + dense + 2 * 1024 + last
    assert parameters(Discriminator(1, 28)) == normed == 6_558_017
    plain = first + second + 128 + dense + 1024 + last
    assert parameters(Discriminator(1, 28, norm="none")) == plain == 6_556_865


def test_pixels_are_the_papers_sigmoid_brought_to_minus_one_and_one() -> None:
    torch.manual_seed(0)
    network, z = Generator(6, 1, 8, width=4).eval(), torch.randn(3, 6)
    h = F.leaky_relu(network.norm1(network.dense1(z)), 0.2)
    h = F.leaky_relu(network.norm2(network.dense2(h)), 0.2)
    # Stored position by position, channels last.
    h = h.view(3, 2, 2, 8).permute(0, 3, 1, 2)
    h = F.leaky_relu(network.norm3(network.up1(h)), 0.2)
    torch.testing.assert_close(network(z), 2 * torch.sigmoid(network.up2(h)) - 1)


def test_logits_are_linear_in_the_dense_layer_plus_the_class_product() -> None:
    torch.manual_seed(0)
    network = Discriminator(3, 8, width=4, num_classes=4).eval()
    images, labels = torch.rand(3, 3, 8, 8) * 2 - 1, torch.tensor([3, 0, 1])
    phi = network.features(images)
    assert phi.shape == (3, 64)
    logits = phi @ network.head.linear.weight[0] + network.head.linear.bias
    logits = logits + (phi * network.head.embedding.weight[labels]).sum(dim=1)
    torch.testing.assert_close(network(images, labels), logits)


@pytest.mark.parametrize("size", [8, 28, 32, 36, 64])
def test_any_multiple_of_4_is_a_size(size: int) -> None:
    images = Generator(6, 3, size, width=2)(torch.randn(2, 6))
    assert images.shape == (2, 3, size, size)
    assert Discriminator(3, size, width=2)(images).shape == (2,)


def test_without_batch_norm_an_image_is_judged_alone() -> None:
    torch.manual_seed(0)
    images = torch.rand(4, 1, 8, 8)
    network = Discriminator(1, 8, width=4, norm="none")
    torch.testing.assert_close(network(images)[:1], network(images[:1]))
    normed = Discriminator(1, 8, width=4)
    assert not torch.allclose(normed(images)[:2], normed(images[:2]))


def test_spectral_norm_bounds_every_weight() -> None:
    torch.manual_seed(0)
    network = Discriminator(1, 8, width=4, norm="none", spectral_norm=True).eval()
    for layer in (network.conv1, network.conv2, network.dense, network.head.linear):
        largest = torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2).item()
        assert largest == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("size", [4, 30])
def test_other_sizes_and_norms_are_refused(size: int) -> None:
    for build in (lambda: Generator(6, 1, size), lambda: Discriminator(1, size)):
        with pytest.raises(ValueError, match=f"image_size {size} is not a multiple of 4"):
            build()
    with pytest.raises(ValueError, match="norm is 'layer'; give one of batch, none"):
        Discriminator(1, 8, norm="layer")
