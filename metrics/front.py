"""Which of many trade-offs are worth having."""

from __future__ import annotations

from collections.abc import Sequence


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Give the places of ``(cost, score)`` pairs that no other pair beats, by rising cost.

    Lower is better in both; a pair is beaten by one that is no worse in either and better in one.
    Of equal pairs the first counts.
    """
    order = sorted(range(len(points)), key=lambda i: (*points[i], i))
    front: list[int] = []
    for i in order:
        if not front or points[i][1] < points[front[-1]][1]:
            front.append(i)
    return front
