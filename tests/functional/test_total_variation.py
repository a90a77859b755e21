from __future__ import annotations

import math

import pytest
import torch

from functional.total_variation import denoise_total_variation, divergence, gradient


def noisy(n: int = 4, channels: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    step = (torch.arange(12) >= 6).double().expand(n, channels, 10, 12)
    return step + 0.3 * torch.randn(n, channels, 10, 12, generator=generator).double()


@pytest.mark.parametrize("weight", [0.02, 0.3, 2.0])
def test_it_is_scikit_image_s(weight: float) -> None:
    restoration = pytest.importorskip("skimage.restoration")
    images = noisy()
    expected = torch.stack(
        [
            torch.from_numpy(
                restoration.denoise_tv_chambolle(image.numpy(), weight=weight, channel_axis=0)
            )
            for image in images
        ]
    )
    torch.testing.assert_close(denoise_total_variation(images, weight), expected)


def test_the_sides_of_a_step_move_together_by_the_weight_over_their_width() -> None:
    """In one dimension the minimiser is known: Strong and Chan (2003)."""
    image = (torch.arange(20) >= 8).double().expand(1, 1, 1, 20)
    found = denoise_total_variation(image, 0.5, tolerance=0, max_iterations=1000)[0, 0, 0]
    torch.testing.assert_close(found[:8], torch.full((8,), 0.5 / 8).double(), atol=1e-3, rtol=0)
    torch.testing.assert_close(
        found[8:], 1 - torch.full((12,), 0.5 / 12).double(), atol=1e-3, rtol=0
    )


def test_the_divergence_is_minus_the_adjoint_of_the_gradient() -> None:
    planes, other = noisy().flatten(0, 1), noisy().flatten(0, 1).flip(0)
    field = gradient(other) * noisy().flatten(0, 1).sin()
    left, right = (gradient(planes) * field).sum(), -(planes * divergence(field)).sum()
    torch.testing.assert_close(left, right)


def test_a_channel_depends_on_itself_alone_and_keeps_its_mean() -> None:
    images = noisy()
    together = denoise_total_variation(images, 0.4)
    torch.testing.assert_close(together[2:3, 1:], denoise_total_variation(images[2:3, 1:], 0.4))
    torch.testing.assert_close(together.mean(dim=(2, 3)), images.mean(dim=(2, 3)))


@pytest.mark.parametrize("weight", [0.0, -1.0, math.inf, math.nan])
def test_a_weight_that_is_not_positive_is_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="expected a positive number"):
        denoise_total_variation(noisy(), weight)
