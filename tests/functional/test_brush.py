from __future__ import annotations

import pytest
import torch

from functional.brush import brush_strokes, distances
from functional.seeding import ImageNoise


def test_a_pixel_is_as_far_from_a_piece_as_from_its_nearest_point() -> None:
    # Along row 1.5 from column 1.5 to 3.5, and one more piece of no length.
    corners = torch.tensor([[[1.5, 1.5], [1.5, 3.5], [1.5, 3.5]]])
    found = distances((4, 6), corners)
    assert found.shape == (1, 2, 4, 6)
    assert found[0, 0, 1].tolist() == [1.0, 0.0, 0.0, 0.0, 1.0, 2.0]
    assert found[0, 0, 3, 2] == 2.0
    assert found[0, 0, 0, 0] == pytest.approx(2**0.5)
    assert found[0, 1, 1, 0] == pytest.approx(3.0)


def test_strokes_depend_on_the_images_own_seed_and_grow_with_their_number() -> None:
    one = brush_strokes(2, (28, 28), ImageNoise([5]))
    assert torch.equal(brush_strokes(2, (28, 28), ImageNoise([4, 5]))[1:], one)
    masks = brush_strokes(1, (28, 28), ImageNoise(range(50)))
    shares = masks.float().mean(dim=(1, 2, 3))
    assert masks.shape == (50, 1, 28, 28) and masks.dtype == torch.bool
    assert 0.02 < shares.mean() < 0.3
    assert brush_strokes(5, (28, 28), ImageNoise(range(50))).float().mean() > 2 * shares.mean()


def test_no_strokes_are_refused() -> None:
    with pytest.raises(ValueError, match="0 strokes"):
        brush_strokes(0, (8, 8), ImageNoise([0]))
