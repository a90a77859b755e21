"""The order in which a growing canvas is drawn."""

from __future__ import annotations

import torch
from torch import Tensor

from tasks.extending import Sides, extended, outward


def test_windows_go_outward_from_the_image_with_half_of_each_known_before() -> None:
    sides, size = Sides(left=11, right=3, top=5, bottom=0), 8
    drawn: list[float] = []

    def fill(window: Tensor, hidden: Tensor, number: int) -> Tensor:
        drawn.append(hidden.double().mean().item())
        assert hidden.shape == (1, 1, size, size)
        return torch.where(hidden, number + 1.0, window)

    images = torch.zeros(2, 1, size, size)
    canvas = extended(images, sides, fill)
    assert canvas.shape == (2, 1, 13, 22) and (canvas[..., 5:, 11:19] == 0).all()
    assert max(drawn) == 0.5 and (canvas == 0).sum() == 2 * size**2


def test_places_go_down_and_then_up_to_both_ends() -> None:
    assert outward(11, 14, 4) == [11, 7, 3, 0, 14]
    assert outward(0, 0, 4) == [0] and outward(4, 12, 4) == [4, 0, 8, 12]
