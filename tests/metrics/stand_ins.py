"""A small extractor and small images, for tests of what is done with features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metrics.extractors import FeatureExtractor


class Projection(FeatureExtractor):
    """A fixed linear map of 4 x 4 grey images to ``dim`` features and 3 logits."""

    def __init__(self, dim: int = 6, name: str = "projection") -> None:
        network = nn.Linear(16, dim, bias=False)
        generator = torch.Generator().manual_seed(0)
        network.weight.data = torch.randn(dim, 16, generator=generator) / 400
        super().__init__(
            network,
            name=name,
            dim=dim,
            num_classes=3,
            weights_sha256=f"{dim:064x}",
            resize="none",
            antialias=False,
        )

    def extract(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        features = self.network(images.flatten(1).float())
        return features, 5 * features[:, :3]


def draw(n: int, seed: int, spread: int = 256) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, spread, (n, 1, 4, 4), generator=generator, dtype=torch.uint8)
