"""Images from nothing by a masked autoencoder: a few more patches in each round (after MaskGIT).

Chang et al. 2022, "MaskGIT: masked generative image transformer", section 3.2 and figure 3: the
share of the image that is still hidden falls as a cosine, and a training ratio is drawn from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from functional.patches import gather_patches


def check_range(ratios: Sequence[float]) -> tuple[float, float]:
    """Give the smallest and the largest ratio of ``ratios``, both in [0, 1].

    Raises:
        ValueError: where they are not two, in rising order, in [0, 1].
    """
    if len(ratios) != 2 or not 0 <= ratios[0] < ratios[1] <= 1:
        raise ValueError(
            f"a range of mask ratios of {list(ratios)}; expected two numbers in [0, 1], the "
            "smaller one first, such as [0.5, 1]"
        )
    return ratios[0], ratios[1]


def cosine_ratio(ratios: tuple[float, float], patches: int, u: float) -> float:
    """Give a mask ratio between ``ratios`` as often as the rounds of sampling meet it.

    It is cos(pi u / 2) for u uniform where that lies in the range, rounded to a whole number of
    patches: at least 1 of them is hidden and at least 1 visible.

    Args:
        ratios: (smallest, largest).
        patches: of an image, 2 or more.
        u: uniform in [0, 1).
    """
    start, stop = (math.acos(ratio) for ratio in (ratios[1], ratios[0]))
    hidden = patches * math.cos(start + u * (stop - start))
    return min(max(math.floor(hidden + 0.5), 1), patches - 1) / patches


def visible_counts(patches: int, rounds: int) -> list[int]:
    """Give how many patches are known before each round and after the last: 1, ..., ``patches``.

    After round t of T a share cos(pi t / 2T) of those unknown at first is still unknown, rounded
    down; every round adds one patch at least.

    Raises:
        ValueError: for no round, or more rounds than there are patches to add.
    """
    if not 1 <= rounds < patches:
        raise ValueError(
            f"{rounds} rounds for {patches} patches, of which one is known at first; expected 1 to "
            f"{patches - 1}, such as 12"
        )
    hidden = [patches - 1]
    for t in range(1, rounds + 1):
        share = math.floor((patches - 1) * math.cos(math.pi * t / (2 * rounds)) + 1e-9)
        most = hidden[-1] - 1
        hidden.append(max(min(share, most), rounds - t))
    return [patches - count for count in hidden]


def reveal(
    patches: Tensor,
    order: Tensor,
    counts: Sequence[int],
    predict: Callable[[Tensor, Tensor], Tensor],
    draw: Callable[[Tensor, int], Tensor],
) -> Tensor:
    """Give patches ``(N, L, D)`` of which each round keeps some of what is predicted from the rest.

    Args:
        patches: ``(N, L, D)``, of which the first ``counts[0]`` in the order are known.
        order: the places ``(N, L)`` of each image's patches as they become known.
        counts: how many are known before each round and after the last.
        predict: gives all patches from patches and the places ``(N, K)`` of those that are known.
        draw: gives the patches ``(N, M, D)`` that are kept from those predicted and K.
    """
    patches = patches.clone()
    rows = torch.arange(len(patches), device=patches.device)[:, None]
    for known, after in pairwise(counts):
        new = order[:, known:after]
        predicted = gather_patches(predict(patches, order[:, :known]), new)
        patches[rows, new] = draw(predicted, known)
    return patches
