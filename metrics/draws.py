"""Which of many features a metric takes at random: by torch's generator, or as torch-fidelity does.

The protocol of a value says which (``ProtocolRecord.draws``): another draw is another number.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class Draws(Protocol):
    """A stream of draws from one seed."""

    def subset(self, n: int, size: int) -> Tensor:
        """Give ``size`` of ``n`` indices, without replacement."""

    def parts(self, n: int, count: int) -> list[Tensor]:
        """Give ``n`` indices shuffled and cut into ``count`` parts of nearly one size."""

    def share(self, n: int, size: int) -> Tensor:
        """Give ``size`` of ``n`` indices, of a set that meets one of ``size``."""


class TorchDraws:
    """Draws by ``torch.randperm``: those of a run's scores.

    Images of a run and its reference's features come in random order: a share is their first part.
    """

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def subset(self, n: int, size: int) -> Tensor:
        return torch.randperm(n, generator=self._generator)[:size]

    def parts(self, n: int, count: int) -> list[Tensor]:
        return list(torch.randperm(n, generator=self._generator).tensor_split(count))

    def share(self, n: int, size: int) -> Tensor:
        return torch.arange(min(n, size))


class FidelityDraws:
    """The draws of torch-fidelity for its ``rng_seed``: those of plain folders of images."""

    def __init__(self, seed: int) -> None:
        self._dice = np.random.RandomState(seed)

    def subset(self, n: int, size: int) -> Tensor:
        return torch.from_numpy(self._dice.choice(n, size, replace=False))

    def parts(self, n: int, count: int) -> list[Tensor]:
        order = torch.from_numpy(self._dice.permutation(n))
        return [order[i * n // count : (i + 1) * n // count] for i in range(count)]

    def share(self, n: int, size: int) -> Tensor:
        return torch.arange(n) if n == size else self.subset(n, size)
