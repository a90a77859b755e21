"""Learning from few labels: which images keep theirs."""

from __future__ import annotations

import torch
from torch import Tensor

from functional.seeding import derive_seed


def balanced_subset(labels: Tensor, n: int, num_classes: int, seed: int) -> Tensor:
    """Give int64 positions ``(n,)``, rising, of images with equally many of each class.

    Where the classes do not divide n, some that the seed draws have one more.

    Args:
        labels: int64 ``(N,)`` in 0 ... num_classes - 1.
        n: how many images.
        num_classes: number of classes.
        seed: of the draw; the same one gives the same images.

    Raises:
        ValueError: where n has no image for some class, or a class has too few.
    """
    if not num_classes <= n <= len(labels):
        raise ValueError(
            f"labels={n} of {len(labels)} images in {num_classes} classes; expected "
            f"{num_classes} to {len(labels)}, or null for all"
        )
    generator = torch.Generator().manual_seed(seed)
    ahead = set(torch.randperm(num_classes, generator=generator)[: n % num_classes].tolist())
    chosen = []
    for label in range(num_classes):
        found, wanted = (labels == label).nonzero()[:, 0], n // num_classes + (label in ahead)
        if len(found) < wanted:
            raise ValueError(
                f"labels={n} takes {wanted} images of class {label}, which has {len(found)}; "
                "use fewer, or null for all"
            )
        chosen.append(found[torch.randperm(len(found), generator=generator)[:wanted]])
    return torch.cat(chosen).sort().values


def shuffled_positions(n: int, start: int, count: int, seed: int) -> Tensor:
    """Give int64 ``(count,)``, from ``start`` on, of an endless sequence of shuffled 0 ... n - 1.

    Each n of it hold every position once, in an order of their own that follows from ``seed``.
    """
    first, last = start // n, (start + count - 1) // n
    epochs = [
        torch.randperm(n, generator=torch.Generator().manual_seed(derive_seed(seed, epoch)))
        for epoch in range(first, last + 1)
    ]
    return torch.cat(epochs)[start - first * n :][:count]
