from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from networks.autoencoder import ConvAutoencoder, MLPAutoencoder


def images(n: int = 3, channels: int = 1, size: int = 8) -> Tensor:
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def mlp(**changes: Any) -> MLPAutoencoder:
    torch.manual_seed(0)
    return MLPAutoencoder(**{"channels": 1, "image_size": 8, "widths": [10, 6], **changes})


def conv(**changes: Any) -> ConvAutoencoder:
    torch.manual_seed(0)
    return ConvAutoencoder(**{"channels": 1, "image_size": 8, "width": 4, "code": 5, **changes})


@pytest.mark.parametrize("tied", [True, False])
def test_the_perceptron_is_its_affine_layers_between_sigmoids(tied: bool) -> None:
    network = mlp(tied=tied)
    first, second = (layer for layer in network.encoder)
    x = (images().flatten(1) + 1) / 2
    code = torch.sigmoid(
        torch.sigmoid(x @ first.weight.T + first.bias) @ second.weight.T + second.bias
    )
    torch.testing.assert_close(network.encode(images()), code)
    if tied:
        back, out = second.weight.T, first.weight.T
        b1, b2 = network.biases
    else:
        back, out = (layer.weight for layer in network.decoder)
        b1, b2 = (layer.bias for layer in network.decoder)
    output = torch.sigmoid(code @ back.T + b1) @ out.T + b2
    torch.testing.assert_close(network(images()), output.view(3, 1, 8, 8))


def test_tied_weights_are_held_once() -> None:
    def count(network: MLPAutoencoder) -> int:
        return sum(p.numel() for p in network.parameters())

    matrices = 64 * 10 + 10 * 6
    assert count(mlp(tied=True)) == matrices + (10 + 6) + (10 + 64)
    assert count(mlp(tied=False)) == count(mlp(tied=True)) + matrices


def test_a_black_pixel_adds_nothing_to_a_unit() -> None:
    """Masking sets pixels to -1, which is 0 of the paper's images in [0, 1]."""
    network, x = mlp(widths=[5]), images(1)
    with torch.no_grad():
        masked = x.clone()
        masked[..., 2, 3] = -1
        network.encoder[0].weight[:, 2 * 8 + 3] = 0
    torch.testing.assert_close(network.encode(masked), network.encode(x))


@pytest.mark.parametrize("network", [mlp(), mlp(tied=True), conv()])
def test_the_output_is_of_the_code_alone_and_takes_no_notice_of_a_level(network: Any) -> None:
    assert not network.takes_level
    output = network(images(), torch.ones(3))
    torch.testing.assert_close(output, network.decode(network.encode(images())))
    assert output.shape == (3, 1, 8, 8)
    output.sum().backward()
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize(("size", "smallest"), [(8, 4), (28, 7), (32, 4)])
def test_the_convolution_halves_the_image_down_to_4_to_7_pixels(size: int, smallest: int) -> None:
    network = conv(image_size=size, channels=3, out_channels=6)
    assert network.smallest[1:] == (smallest, smallest)
    x = images(2, 3, size)
    assert network.encode(x).shape == (2, 5) and network(x).shape == (2, 6, size, size)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mlp(widths=[]), r"widths=\[\]"),
        (lambda: mlp(activation="cosine"), "activation is 'cosine'"),
        (lambda: mlp(tied=True, out_channels=2), "tied weights give back 1 channels, not 2"),
        (lambda: conv(code=0), "code=0"),
        (lambda: conv(image_size=9), "image_size 9"),
        (lambda: mlp().encode(images(1, 3)), "images have shape"),
    ],
)
def test_what_makes_no_network_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
