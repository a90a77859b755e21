from __future__ import annotations

import pytest
import torch
from torch import nn

from networks.gan_mlp import Discriminator, Generator, Maxout


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_the_networks_of_2014_for_mnist_have_their_parameters() -> None:
    with torch.device("meta"):
        g, d = Generator(100, 1, 28, 1200), Discriminator(1, 28, 240)
    assert parameters(g) == 101 * 1200 + 1201 * 1200 + 1201 * 784
    assert parameters(d) == 785 * 1200 + 241 * 1200 + 241


def test_a_maxout_unit_is_the_largest_of_its_linear_maps() -> None:
    torch.manual_seed(0)
    layer, x = Maxout(4, 3, pieces=5), torch.randn(2, 4)
    weight, bias = layer.linear.weight.view(3, 5, 4), layer.linear.bias.view(3, 5)
    expected = [[max(w @ row + b) for w, b in zip(weight, bias, strict=True)] for row in x]
    found = layer(x)
    for n in range(2):
        torch.testing.assert_close(found[n], torch.stack(expected[n]))


def test_pixels_are_the_papers_sigmoid_brought_to_minus_one_and_one() -> None:
    torch.manual_seed(0)
    network, z = Generator(6, 1, 4, 8), torch.rand(3, 6)
    h = z
    for layer in network.hidden:
        h = layer(h).clamp_min(0)
    pixels = 2 * torch.sigmoid(network.head(h)) - 1
    torch.testing.assert_close(network(z).flatten(1), pixels)


def test_dropout_acts_in_training_alone() -> None:
    torch.manual_seed(0)
    network, images = Discriminator(1, 8, 16), torch.rand(4, 1, 8, 8)
    assert not torch.equal(network(images), network(images))
    network.eval()
    assert torch.equal(network(images), network(images))
    sure = Discriminator(1, 8, 16, dropout=0.0, input_dropout=0.0)
    assert torch.equal(sure(images), sure(images))


def test_features_of_a_conditional_network_need_no_label() -> None:
    torch.manual_seed(0)
    network, images = Discriminator(1, 8, 16, num_classes=3).eval(), torch.rand(4, 1, 8, 8)
    plain, labelled = network.features(images), network.features(images, torch.tensor([0, 1, 2, 0]))
    assert plain.shape == (4, 16)
    assert not torch.allclose(plain, labelled)


def test_a_network_without_hidden_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="layers is 0; give 1 hidden layer or more"):
        Generator(6, 1, 4, 8, layers=0)
    with pytest.raises(ValueError, match="layers is 0; give 1 hidden layer or more"):
        Discriminator(1, 4, 8, layers=0)
