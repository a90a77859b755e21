"""Randomness as a function of names: of an image's seed, of a training step, of a rank."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor


def derive_seed(*entropy: int) -> int:
    """Give one 63-bit seed for a tuple of non-negative integers (NumPy's ``SeedSequence``)."""
    state = np.random.SeedSequence(entropy).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def image_seeds(seed: int, indices: Iterable[int]) -> list[int]:
    """Give the seed of each image: a function of (``seed``, index) alone."""
    return [derive_seed(seed, index) for index in indices]


class ImageNoise:
    """A stream of Gaussian noise per image, so that image i depends on ``seeds[i]`` alone.

    Numbers are drawn on the CPU: the same seeds give the same noise on every device and in any
    grouping of images.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __len__(self) -> int:
        return len(self.generators)

    def __call__(self, *shape: int) -> Tensor:
        """Draw standard normal noise ``(len(seeds), *shape)``, float32, the next of each stream."""
        noise = torch.empty(len(self.generators), *shape)
        for row, generator in zip(noise, self.generators, strict=True):
            row.normal_(generator=generator)
        return noise.to(self.device)


def seed_devices(seed: int, device: torch.device) -> None:
    """Seed torch's global generators of the CPU and of ``device``.

    On the CPU alone ``torch.manual_seed`` keeps a stack trace for each accelerator that torch was
    built for, at every call.
    """
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)
