from __future__ import annotations

import torch
from torch import nn

from networks.unet import UNet
from tests.networks.test_unet import CIFAR10


def test_the_layout_of_maps_changes_nothing_but_rounding() -> None:
    torch.manual_seed(0)
    settings = {**CIFAR10, "channels": 8, "blocks": 1}
    one, other = UNet(**settings), UNet(**settings, channels_last=False)
    for parameter in one.parameters():
        nn.init.normal_(parameter, std=0.1)
    other.load_state_dict(one.state_dict())
    x, t = torch.randn(2, 3, 32, 32), torch.tensor([3.0, 500.0])
    torch.testing.assert_close(one.eval()(x, t), other.eval()(x, t), rtol=1e-4, atol=1e-4)
    assert other.stem.weight.is_contiguous() and not one.stem.weight.is_contiguous()
