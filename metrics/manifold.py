"""How two sets of features lie in one another: precision, recall, density, coverage, neighbours.

Distances are Euclidean in float64 and made in tiles of bounded memory. Both sets of a metric must
have the same size: each ball reaches to a k-th neighbour, so a larger set has smaller balls.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

TILE_ELEMENTS = 1 << 25
"""Distances held at once: 256 MiB of float64."""


class Neighbours(NamedTuple):
    """The nearest members of a reference set.

    indices: int64 ``(n, k)`` into the reference, nearest first.
    distances: float64 ``(n, k)``.
    """

    indices: Tensor
    distances: Tensor


def precision_recall(generated: Tensor, real: Tensor, k: int = 3) -> tuple[float, float]:
    """Give improved precision and recall, each in [0, 1] (Kynkäänniemi et al. 2019, equations 1-2).

    Precision is the share of generated features inside the ball of some real one, whose radius is
    the distance to its k-th nearest real neighbour; recall exchanges the two sets.

    Args:
        generated: ``(n, d)``.
        real: ``(n, d)``, the same n.
        k: the neighbour that sets the radius.

    Raises:
        ValueError: where sizes differ or n <= k.
    """
    _check_pair(generated, real, k)
    return _share_inside(generated, real, k), _share_inside(real, generated, k)


def density_coverage(generated: Tensor, real: Tensor, k: int = 5) -> tuple[float, float]:
    """Give density (>= 0, about 1 when equal) and coverage in [0, 1] (Naeem et al. 2020, eqs 3-4).

    Density counts in how many real balls a generated feature lies, over k; coverage is the share
    of real balls that hold a generated feature. Arguments and errors as ``precision_recall``.
    """
    _check_pair(generated, real, k)
    radii = kth_neighbour_distance(real, k)
    inside, covered = 0, torch.zeros(len(real), dtype=torch.bool, device=real.device)
    for _, distances in distance_tiles(generated, real):
        balls = distances < radii
        inside += int(balls.sum())
        covered |= balls.any(dim=0)
    return inside / (k * len(generated)), float(covered.double().mean())


def nearest_neighbours(features: Tensor, reference_features: Tensor, k: int = 1) -> Neighbours:
    """Give the k nearest reference features of each feature: a look at memorisation.

    Args:
        features: ``(n, d)``.
        reference_features: ``(m, d)``, m >= k.
        k: how many.

    Raises:
        ValueError: where shapes do not fit or k is not in 1 ... m.
    """
    if features.ndim != 2 or reference_features.shape[1:] != features.shape[1:]:
        raise ValueError(
            f"features {tuple(features.shape)} and reference {tuple(reference_features.shape)} "
            "must be (n, d) and (m, d)"
        )
    if not 1 <= k <= len(reference_features):
        raise ValueError(f"k={k} must be in 1 ... {len(reference_features)}, the reference's size")
    tiles = [
        distances.topk(k, dim=1, largest=False)
        for _, distances in distance_tiles(features, reference_features)
    ]
    return Neighbours(
        torch.cat([tile.indices for tile in tiles]), torch.cat([tile.values for tile in tiles])
    )


def nearest_in_chunks(features: Tensor, chunks: Iterable[Tensor], k: int = 1) -> Neighbours:
    """As :func:`nearest_neighbours`, of reference features ``(m_i, d)`` that come in chunks.

    No more than a chunk of them is held at once; indices count through all chunks.
    """
    indices = torch.empty(len(features), 0, dtype=torch.int64, device=features.device)
    distances = torch.empty(len(features), 0, dtype=torch.float64, device=features.device)
    seen = 0
    for chunk in chunks:
        near = nearest_neighbours(features, chunk, min(k, len(chunk)))
        indices = torch.cat([indices, near.indices + seen], dim=1)
        kept = torch.cat([distances, near.distances], dim=1).sort(dim=1, stable=True)
        distances, indices = kept.values[:, :k], indices.gather(1, kept.indices)[:, :k]
        seen += len(chunk)
    if not 1 <= k <= seen:
        raise ValueError(f"k={k} must be in 1 ... {seen}, the reference's size")
    return Neighbours(indices, distances)


def kth_neighbour_distance(points: Tensor, k: int) -> Tensor:
    """Give float64 ``(n,)``: the distance of each point to its k-th nearest other point."""
    return torch.cat([d.kthvalue(k + 1, dim=1).values for _, d in distance_tiles(points, points)])


def distance_tiles(rows: Tensor, columns: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield slices of ``rows`` with their float64 distances ``(tile, m)`` to all ``columns``."""
    columns = columns.double()
    size = max(1, TILE_ELEMENTS // max(len(columns), 1))
    for start in range(0, len(rows), size):
        tile = slice(start, start + size)
        yield tile, torch.cdist(rows[tile].double(), columns)


def _share_inside(points: Tensor, centres: Tensor, k: int) -> float:
    radii = kth_neighbour_distance(centres, k)
    inside = [(d <= radii).any(dim=1) for _, d in distance_tiles(points, centres)]
    return float(torch.cat(inside).double().mean())


def _check_pair(generated: Tensor, real: Tensor, k: int) -> None:
    if generated.ndim != 2 or generated.shape != real.shape:
        raise ValueError(
            f"generated {tuple(generated.shape)} and real {tuple(real.shape)} must both be (n, d) "
            "with the same n: take a subset of the larger"
        )
    if k < 1 or len(real) <= k:
        raise ValueError(
            f"k={k} must be at least 1 and less than the number of features {len(real)}"
        )
