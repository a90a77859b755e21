from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import unfold

from functional.patches import (
    gather_patches,
    hidden_patches,
    patch_grid,
    patch_statistics,
    patches_of_pixels,
    patchify,
    pixels_of_patches,
    psnr,
    reconstruction_loss,
    unpatchify,
    visible_patches,
)

SHAPES = [(1, (28, 28), (4, 4)), (3, (12, 20), (4, 5)), (2, (6, 4), (3, 2)), (3, (8, 8), (8, 8))]


def images(channels: int, size: tuple[int, int], n: int = 3) -> Tensor:
    return torch.randn(n, channels, *size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("channels", "size", "patch"), SHAPES)
def test_patches_are_those_of_unfold(channels: int, size: tuple[int, int], patch: tuple) -> None:
    x = images(channels, size)
    patches = patchify(x, patch)
    assert torch.equal(patches, unfold(x, patch, stride=patch).mT)
    assert patches.shape[1] == math.prod(patch_grid(size, patch))


@pytest.mark.parametrize(("channels", "size", "patch"), SHAPES)
def test_unpatchify_undoes_patchify(channels: int, size: tuple[int, int], patch: tuple) -> None:
    x = images(channels, size)
    assert torch.equal(unpatchify(patchify(x, patch), patch, size), x)


def test_a_patch_index_painted_as_pixel_value_comes_back_in_place() -> None:
    index = torch.arange(6.0)[None, :, None].expand(1, 6, 8)
    picture = unpatchify(index, (2, 4), (4, 12))[0, 0]
    assert torch.equal(picture[::2, ::4], torch.tensor([[0.0, 1, 2], [3, 4, 5]]))


def test_an_image_that_patches_do_not_cover_is_refused_with_those_that_do() -> None:
    with pytest.raises(ValueError, match=r"height of 28 pixels .* patches of 5; .* 1, 2, 4, 7"):
        patchify(images(1, (28, 20)), (5, 5))
    with pytest.raises(ValueError, match="width of 20"):
        patch_grid((28, 20), (4, 8))
    with pytest.raises(ValueError, match="patches of 0"):
        patch_grid((28, 28), (0, 4))


def test_places_and_masks_say_the_same() -> None:
    visible = torch.tensor([[3, 1], [0, 4]])
    hidden = hidden_patches(visible, 5)
    assert hidden.tolist() == [[True, False, True, False, True], [False, True, True, True, False]]
    assert torch.equal(visible_patches(hidden), visible.sort(dim=1).values)


def test_gathered_patches_are_the_visible_ones_in_their_order() -> None:
    patches = torch.arange(10.0).view(2, 5, 1)
    gathered = gather_patches(patches, torch.tensor([[3, 1], [0, 4]]))
    assert gathered[..., 0].tolist() == [[3, 1], [5, 9]]


def test_masks_that_make_no_batch_are_refused() -> None:
    uneven = torch.tensor([[True, False, False], [True, True, False]])
    with pytest.raises(ValueError, match="masks with 1, 2 visible patches"):
        visible_patches(uneven)
    with pytest.raises(ValueError, match="at least 1"):
        visible_patches(torch.ones(2, 3, dtype=torch.bool))


def test_one_hidden_pixel_hides_its_patch_and_no_other() -> None:
    mask = torch.zeros(2, 1, 6, 8, dtype=torch.bool)
    mask[0, 0, 2, 5] = True
    hidden = patches_of_pixels(mask, (3, 4))
    assert hidden.tolist() == [[False, True, False, False], [False] * 4]
    pixels = pixels_of_patches(hidden, (3, 4), (6, 8))
    assert pixels[0, 0, :3, 4:].all() and pixels.sum() == 12


# Targets


def test_normalised_patches_have_mean_0_and_unbiased_variance_1() -> None:
    patches = 3 + 5 * patchify(images(3, (8, 8)), (4, 4))
    normalised = patch_statistics(patches).normalise(patches)
    torch.testing.assert_close(normalised.mean(2), torch.zeros(3, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(normalised.square().sum(2), torch.full((3, 4), 47.0))


def test_normalisation_is_undone_by_its_own_statistics() -> None:
    patches = patchify(images(1, (8, 8)), (4, 4))
    statistics = patch_statistics(patches)
    torch.testing.assert_close(statistics.undo(statistics.normalise(patches)), patches)


def test_a_constant_patch_is_finite_and_0() -> None:
    patches = torch.full((1, 2, 16), 0.7, requires_grad=True)
    normalised = patch_statistics(patches).normalise(patches)
    normalised.sum().backward()
    assert torch.equal(normalised, torch.zeros(1, 2, 16))
    assert patches.grad is not None and patches.grad.isfinite().all()


def test_patches_of_one_value_cannot_be_normalised() -> None:
    with pytest.raises(ValueError, match="no variance"):
        patch_statistics(torch.zeros(1, 4, 1))


# The loss


def test_the_loss_counts_hidden_patches_alone() -> None:
    target = torch.zeros(2, 3, 4)
    prediction = torch.tensor([[1.0, 2, 3], [4, 5, 6]])[:, :, None].expand(2, 3, 4)
    hidden = torch.tensor([[True, False, True], [False, False, True]])
    assert reconstruction_loss(prediction, target, hidden).tolist() == [(1 + 9) / 2, 36]
    everywhere = reconstruction_loss(prediction, target, None)
    torch.testing.assert_close(everywhere, torch.tensor([14 / 3, 77 / 3]))


def test_visible_patches_give_and_get_no_gradient() -> None:
    prediction = torch.randn(2, 3, 4, requires_grad=True)
    target = torch.randn(2, 3, 4, requires_grad=True)
    hidden = torch.tensor([[True, False, True], [False, False, True]])
    reconstruction_loss(prediction, target, hidden).sum().backward()
    for tensor in (prediction, target):
        assert tensor.grad is not None
        assert torch.equal(tensor.grad.abs().sum(2) > 0, hidden)


def test_psnr_is_of_the_masked_pixels_and_a_peak_of_2() -> None:
    truth, mask = torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    mask[:, :, :2] = True
    errors = torch.tensor([0.2, 0.02]).view(2, 1, 1, 1)
    restored = torch.where(mask, errors, 1.0).expand(2, 3, 4, 4)
    torch.testing.assert_close(psnr(restored, truth, mask), torch.tensor([20.0, 40.0]))
