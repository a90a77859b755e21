"""The perceptron that stands in for a U-Net on points."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from networks.mlp import MLP


def network(**changes: Any) -> MLP:
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "in_channels": 2, "out_channels": 2, "image_size": 1, "width": 16, "blocks": 2,
    }  # fmt: skip
    return MLP(**{**settings, **changes})


def scramble(net: MLP) -> MLP:
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return net


def test_it_begins_as_zero_and_gives_images_of_its_channels() -> None:
    x = torch.randn(3, 2, 4, 4)
    out = network(out_channels=4, image_size=4)(x, torch.tensor([1.0, 2.0, 3.0]))
    assert out.shape == (3, 4, 4, 4) and not out.any()


def test_every_value_the_time_and_the_label_reach_every_output() -> None:
    net = scramble(network(num_classes=3, frequencies=2))
    x, t, labels = torch.randn(1, 2, 1, 1), torch.tensor([5.0]), torch.tensor([1])
    base = net(x, t, labels)
    moved = [
        net(x + torch.tensor([0.1, 0.0]).view(1, 2, 1, 1), t, labels),
        net(x + torch.tensor([0.0, 0.1]).view(1, 2, 1, 1), t, labels),
        net(x, t + 1, labels),
        net(x, t, torch.tensor([2])),
    ]
    assert all(((other - base).abs() > 1e-5).all() for other in moved)


def test_no_label_is_a_label_of_its_own() -> None:
    net = scramble(network(num_classes=3))
    x, t = torch.randn(2, 2, 1, 1), torch.tensor([5.0, 6.0])
    assert torch.equal(net(x, t), net(x, t, torch.tensor([3, 3])))


def test_waves_put_a_function_of_high_frequency_in_reach() -> None:
    """The stem alone can then give sin(2 pi x), the third wave."""
    net = network(frequencies=3)
    x = torch.rand(5, 2)
    assert torch.allclose(net._with_waves(x)[:, 2 + 8 : 2 + 10], torch.sin(2 * torch.pi * x))


@pytest.mark.parametrize("changes", [{"width": 2}, {"blocks": 0}, {"frequencies": -1}])
def test_settings_that_make_no_network_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected 4, 1 and 0"):
        network(**changes)
