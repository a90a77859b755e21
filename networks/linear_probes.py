"""Linear classifiers of one set of features, trained side by side."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LinearProbes(nn.Module):
    """Batch norm without scale and shift, then ``count`` linear classifiers.

    The norm brings features of any scale to the same one, so that learning rates carry over from
    one model to another (Doersch et al. 2015; He et al. 2022, appendix A.1); what it does can be
    absorbed into the classifier.

    Args:
        dim: of the features.
        num_classes: of each classifier.
        count: how many classifiers.

    Raises:
        ValueError: for no classifier.
    """

    def __init__(self, dim: int, num_classes: int, count: int) -> None:
        super().__init__()
        if count < 1:
            raise ValueError("no linear classifier to train; give one learning rate or more")
        self.norm = nn.BatchNorm1d(dim, affine=False, eps=1e-6)
        classifiers = [nn.Linear(dim, num_classes) for _ in range(count)]
        for classifier in classifiers:
            nn.init.normal_(classifier.weight, std=0.01)
            nn.init.zeros_(classifier.bias)
        self.classifiers = nn.ModuleList(classifiers)

    def forward(self, features: Tensor) -> Tensor:
        """Give logits ``(count, N, num_classes)`` of features ``(N, dim)``."""
        normalised = self.norm(features)
        return torch.stack([classifier(normalised) for classifier in self.classifiers])
