"""LPIPS of restored images, where weights of its network are at hand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.image.lpips import _LPIPS

from functional.images import to_float, to_uint8
from metrics.weights import check_sha256, load_state, load_tensors

Network = Literal["alex", "vgg", "squeeze"]
SMALLEST = 64
"""Side in pixels that smaller images are enlarged to: AlexNet has no output of much smaller."""
SIGNS: dict[Network, str] = {
    "squeeze": "features.3.squeeze.weight",
    "vgg": "features.28.weight",
    "alex": "features.10.weight",
}
"""A tensor of torchvision's squeezenet1_1, vgg16 and alexnet, in the order to look for them."""


class PerceptualDistance:
    """Learned perceptual image patch similarity (Zhang et al. 2018, version 0.1): 0 where alike.

    The network is torchvision's alexnet, vgg16 or squeezenet1_1, whichever the weights are of; the
    weights of its layers' differences come with torchmetrics. Grey images are three equal
    channels.

    Args:
        weights: file of the network's state dict, as torchvision publishes it; a classifier in it
            is not used.

    Attributes:
        name: ``lpips_alex``, ``lpips_vgg`` or ``lpips_squeeze``.
        sha256: of the file.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: for a file that is damaged or of another network.
    """

    def __init__(self, weights: str | Path) -> None:
        path = Path(weights).expanduser()
        self.sha256, state = check_sha256(path, None), load_tensors(path)
        network = network_of(state, str(path))
        self.name = f"lpips_{network}"
        self._distance = _LPIPS(net=network, pnet_rand=True, use_dropout=True)
        own = self._distance.net.state_dict()
        load_state(
            self._distance.net,
            {key: state[name] for key in own if (name := published_name(key)) in state},
            str(path),
        )

    def resize(self, side: int) -> str:
        """Say what happens to images of this side, as in a protocol."""
        return f"{SMALLEST} bilinear" if side < SMALLEST else "none"

    @torch.no_grad()
    def __call__(self, restored: Tensor, clean: Tensor) -> Tensor:
        """Give the distance of each pair of images in [-1, 1], ``(N,)`` on the CPU.

        Args:
            restored, clean: ``(N, C, H, W)`` with one channel or three; rounded to 8 bits as when
                they are saved.
        """
        self._distance.to(restored.device)
        given = (self._prepared(images.to(restored.device)) for images in (restored, clean))
        distance: Tensor = self._distance(*given).flatten().cpu()
        return distance

    def _prepared(self, images: Tensor) -> Tensor:
        images = to_float(to_uint8(images)).expand(-1, 3, -1, -1)
        smaller = min(images.shape[2:]) < SMALLEST
        return F.interpolate(images, (SMALLEST, SMALLEST), mode="bilinear") if smaller else images


def network_of(state: Mapping[str, Tensor], source: str) -> Network:
    """Give the name of the network that ``state`` holds the weights of.

    Raises:
        ValueError: for any other, naming ``source``.
    """
    for network, sign in SIGNS.items():
        if sign in state:
            return network
    raise ValueError(
        f"{source} holds no weights of torchvision's alexnet, vgg16 or squeezenet1_1, one of which "
        "LPIPS needs"
    )


def published_name(key: str) -> str:
    """Give torchvision's name of a tensor that is ``slice2.3.weight`` here."""
    return re.sub(r"^(slices\.|slice)\d+\.", "features.", key)
