from __future__ import annotations

import pytest
import torch
from torch import Tensor

from functional.masking import (
    MASKS,
    BatchNoise,
    MaskOperator,
    bayer_order,
    draw_mask,
    grid_mask,
    keep_count,
)
from functional.patches import hidden_patches
from functional.seeding import ImageNoise

GRIDS = [(7, 7), (14, 14), (4, 9), (16, 8), (1, 5)]
RATIOS = [0.0, 0.1, 0.25, 0.5, 0.6, 0.75, 0.8]


def drawn(kind: str, grid: tuple[int, int], ratio: float, seeds: range | list[int]) -> Tensor:
    """Hidden patches, bool (N, rows, columns)."""
    visible = draw_mask(kind, grid, ratio, ImageNoise(seeds))
    return hidden_patches(visible, grid[0] * grid[1]).unflatten(1, grid)


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("ratio", RATIOS)
def test_the_number_of_hidden_patches_is_exact(
    kind: str, grid: tuple[int, int], ratio: float
) -> None:
    hidden = drawn(kind, grid, ratio, range(9))
    wanted = int(ratio * grid[0] * grid[1] + 0.5)
    assert hidden.sum(dim=(1, 2)).tolist() == [wanted] * 9


def test_the_paper_s_ratio_keeps_a_quarter() -> None:
    assert keep_count(196, 0.75) == 49
    assert keep_count(49, 0.75) == 12
    assert keep_count(64, 0.0) == 64


@pytest.mark.parametrize("ratio", [-0.1, 1.0, 1.5, float("nan")])
def test_a_ratio_outside_0_to_1_is_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match=r"outside \[0, 1\)"):
        keep_count(196, ratio)


def test_a_ratio_that_keeps_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ratio 0.99 leaves none of 49 .* at most 0.98"):
        keep_count(49, 0.99)
    assert keep_count(49, 0.98) == 1


@pytest.mark.parametrize("kind", MASKS)
def test_a_mask_is_a_function_of_its_own_seed(kind: str) -> None:
    together = drawn(kind, (8, 8), 0.6, range(12))
    for seed in (0, 5, 11):
        assert torch.equal(drawn(kind, (8, 8), 0.6, [seed])[0], together[seed])
    assert len({tuple(mask.flatten().tolist()) for mask in together}) > 6


@pytest.mark.parametrize("kind", MASKS)
def test_masks_of_training_come_from_the_global_generator(kind: str) -> None:
    def masks(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return draw_mask(kind, (7, 7), 0.75, BatchNoise(16, "cpu"))

    assert torch.equal(masks(3), masks(3))
    assert not torch.equal(masks(3), masks(4))


def test_random_masks_hide_every_patch_equally_often() -> None:
    share = drawn("random", (5, 5), 0.6, range(2000)).float().mean(dim=0)
    assert (share - 0.6).abs().max() < 5 * (0.24 / 2000) ** 0.5


def test_blocks_hold_together() -> None:
    """Pairs of neighbours of which one is hidden: what a random mask has, (n - 1) / n of 2pq."""
    borders = {}
    for kind in ("random", "block"):
        hidden = drawn(kind, (14, 14), 0.5, range(64))
        across = (hidden[:, :, 1:] != hidden[:, :, :-1]).float().mean()
        down = (hidden[:, 1:] != hidden[:, :-1]).float().mean()
        borders[kind] = float(across + down) / 2
    assert borders["random"] == pytest.approx(0.5 * 196 / 195, abs=0.02)
    assert borders["block"] < 0.4 * borders["random"]


def test_few_hidden_patches_are_one_rectangle_begun_row_by_row() -> None:
    """At 4 % of 14 x 14 the smallest block of BEiT is more than there is to hide."""
    for hidden in drawn("block", (14, 14), 0.04, range(32)):
        rows = [row.nonzero()[:, 0].tolist() for row in hidden if row.any()]
        assert all(row == rows[0] for row in rows[:-1])
        assert rows[-1] == rows[0][: len(rows[-1])]
        assert rows[0] == list(range(rows[0][0], rows[0][0] + len(rows[0])))


def test_a_grid_at_75_percent_shows_one_patch_of_each_2_by_2() -> None:
    shown = ~drawn("grid", (14, 8), 0.75, range(32))
    cells = shown.reshape(32, 7, 2, 4, 2).sum(dim=(2, 4))
    assert (cells == 1).all()
    assert shown.any(dim=0).all()


def test_a_grid_at_50_percent_is_a_chequerboard() -> None:
    hidden = drawn("grid", (8, 8), 0.5, range(16))
    assert (hidden[:, 1:] != hidden[:, :-1]).all() and (hidden[:, :, 1:] != hidden[:, :, :-1]).all()


def test_bayer_s_matrix_is_the_published_one() -> None:
    wanted = [[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]
    assert bayer_order(3).tolist() == wanted


def test_a_grid_wider_than_high_has_no_place_twice() -> None:
    visible = grid_mask((3, 11), 20, ImageNoise(range(8)))
    assert all(len(set(row)) == 20 for row in visible.tolist())


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown kind of mask 'stripes'; known: random, block"):
        draw_mask("stripes", (2, 2), 0.5, ImageNoise([0]))


# The operator of ``restore``


def test_an_operator_hides_and_pastes_pixels_to_the_bit() -> None:
    mask = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    mask[..., :2] = True
    operator = MaskOperator("left half", mask, fill=0.5)
    images, restored = torch.randn(3, 2, 4, 4), torch.randn(3, 2, 4, 4)
    corrupted = operator.apply(images)
    assert (corrupted[..., :2] == 0.5).all() and torch.equal(corrupted[..., 2:], images[..., 2:])
    pasted = operator.paste(restored, corrupted)
    assert torch.equal(pasted[..., 2:], images[..., 2:])
    assert torch.equal(pasted[..., :2], restored[..., :2])


@pytest.mark.parametrize(
    "mask", [torch.zeros(1, 1, 4, 4), torch.zeros(4, 4).bool(), torch.zeros(2, 3, 4, 4).bool()]
)
def test_a_mask_of_another_kind_or_shape_is_refused(mask: Tensor) -> None:
    with pytest.raises(ValueError, match=r"expected torch.bool \(N, 1, H, W\)"):
        MaskOperator("left half", mask)
