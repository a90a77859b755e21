from __future__ import annotations

import pytest
import torch
from torch import Tensor

from functional.principal_axes import principal_axes


def points(n: int, d: int) -> Tensor:
    """Points whose spread differs from direction to direction, away from the origin."""
    generator = torch.Generator().manual_seed(n)
    mix = torch.randn(d, d, generator=generator, dtype=torch.float64)
    return torch.randn(n, d, generator=generator, dtype=torch.float64) @ mix + 3


@pytest.mark.parametrize(("n", "d"), [(40, 6), (6, 40)])
def test_axes_are_the_right_singular_vectors_of_the_centred_points(n: int, d: int) -> None:
    x = points(n, d)
    found = principal_axes(x, 4)
    wanted = torch.linalg.svd(x - x.mean(dim=0)).Vh[:4].T
    torch.testing.assert_close(found.mean, x.mean(dim=0))
    torch.testing.assert_close((found.axes * wanted).sum(dim=0).abs(), torch.ones(4).double())
    torch.testing.assert_close(found.axes.T @ found.axes, torch.eye(4).double())


@pytest.mark.parametrize(("n", "d"), [(40, 6), (6, 40)])
def test_all_axes_give_the_points_back_and_fewer_lose_the_least_variance(n: int, d: int) -> None:
    x = points(n, d)
    full = principal_axes(x, min(n - 1, d))
    torch.testing.assert_close(full.restore(full.project(x)), x)
    variances = full.project(x).var(dim=0)
    assert (variances.diff() < 0).all()
    few = principal_axes(x, 2)
    off = (few.restore(few.project(x)) - x).square().sum() / (n - 1)
    torch.testing.assert_close(off, variances[2:].sum())


def test_the_sign_of_an_axis_is_fixed() -> None:
    x = points(30, 5)
    one, other = principal_axes(x, 3), principal_axes(x.flip(0), 3)
    torch.testing.assert_close(one.axes, other.axes)
    assert (one.axes.gather(0, one.axes.abs().argmax(dim=0, keepdim=True)) > 0).all()


@pytest.mark.parametrize("count", [0, 5])
def test_more_axes_than_there_are_directions_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} principal axes of 5 points.* expected 1 to 4"):
        principal_axes(points(5, 8), count)
