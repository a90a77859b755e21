"""A small convolutional classifier, whose penultimate layer is a feature space for FID."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def conv_norm_relu(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    """Give 3 x 3 convolution, batch normalisation and ReLU; ``stride`` 2 halves the size."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class ResidualBlock(nn.Module):
    """Adds two 3 x 3 convolutions to their input: ``(N, C, H, W)`` to the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            conv_norm_relu(channels, channels), conv_norm_relu(channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Give ``x + layers(x)``."""
        return x + self.layers(x)  # type: ignore[no-any-return]


class CNNFeatures(nn.Module):
    """Gives features and class logits of small images: five stages, 463,594 parameters by default.

    A feature is the mean of a channel over all positions, brought to zero mean and unit variance
    over the training set by a batch normalisation without scale. So Fréchet distances come in
    units of the training set's own variance, and no channel outweighs another by its scale alone.

    Args:
        channels: channels of the images.
        num_classes: number of logits.
        width: channels of the first stage; the second has twice as many.
        dim: number of features.
    """

    def __init__(
        self, channels: int = 1, num_classes: int = 10, width: int = 32, dim: int = 128
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.dim = dim
        self.stages = nn.Sequential(
            conv_norm_relu(channels, width),
            conv_norm_relu(width, 2 * width, stride=2),
            ResidualBlock(2 * width),
            conv_norm_relu(2 * width, dim, stride=2),
            ResidualBlock(dim),
        )
        self.standardise = nn.BatchNorm1d(dim, affine=False)
        self.classifier = nn.Linear(dim, num_classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Give features ``(N, dim)`` and logits ``(N, num_classes)``.

        Args:
            images: float ``(N, channels, H, W)`` in [-1, 1].
        """
        maps = self.stages(images.contiguous(memory_format=torch.channels_last))
        features = self.standardise(maps.mean(dim=(2, 3)))
        return features, self.classifier(features)

    def half_precision_state(self) -> dict[str, Tensor]:
        """Give what a file needs to rebuild the network for evaluation, in float16.

        Accuracy and Fréchet distances are those of float32 to three digits, at half the size.
        """
        state = self.state_dict()
        return {
            name: tensor.detach().half().cpu().contiguous()
            for name, tensor in state.items()
            if tensor.is_floating_point()
        }
