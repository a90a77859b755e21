from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

from metrics.restoration import image_scores, psnr, quantised, ssim, ssim_map


def images(n: int = 3, channels: int = 3, size: int = 24, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, channels, 4, 4, generator=generator) * 2 - 1
    return torch.nn.functional.interpolate(coarse, size=(size, size + 3), mode="bilinear")


def noisy(clean: Tensor, seed: int = 1) -> Tensor:
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    return clean + 0.2 * noise


def holes(clean: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.rand(len(clean), 1, *clean.shape[2:], generator=generator) < 0.6


@pytest.mark.parametrize("channels", [1, 3])
def test_psnr_and_ssim_are_those_of_torchmetrics(channels: int) -> None:
    clean = images(channels=channels)
    x, y = quantised(noisy(clean)), quantised(clean)
    for i in range(len(x)):
        one, other = x[i : i + 1], y[i : i + 1]
        expected = peak_signal_noise_ratio(one, other, data_range=255.0)
        torch.testing.assert_close(psnr(one, other)[0], expected, check_dtype=False)
        _, whole = structural_similarity_index_measure(
            one, other, sigma=1.5, data_range=255.0, return_full_image=True
        )
        # Its windows at the border see mirrored pixels; the paper's lie inside.
        expected = whole[:, :, 5:-5, 5:-5].mean()
        torch.testing.assert_close(ssim(one, other)[0], expected, rtol=1e-9, atol=0)


def test_masked_psnr_counts_hidden_pixels_alone() -> None:
    clean = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    hidden = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    hidden[..., :2] = True
    restored = torch.where(hidden, 10.0, 200.0).double()
    assert float(psnr(restored, clean, hidden)) == pytest.approx(20 * math.log10(255 / 10))


def test_masked_ssim_is_the_mean_of_the_map_over_hidden_pixels() -> None:
    clean = images(1)
    x, y, hidden = quantised(noisy(clean)), quantised(clean), holes(clean)
    expected = ssim_map(x, y)[hidden.expand_as(x)].mean()
    torch.testing.assert_close(ssim(x, y, hidden)[0], expected)


def test_a_perfect_image_scores_one_and_the_psnr_of_rounding() -> None:
    scores = image_scores(images(), images(), holes(images()))
    assert all(float(scores[name].min()) > 1 - 1e-12 for name in scores if "ssim" in name)
    assert float(scores["psnr-masked"][0]) == pytest.approx(10 * math.log10(255**2 * 12))


def test_pasting_mends_what_was_visible_and_leaves_the_hidden_psnr() -> None:
    clean, hidden = images(), holes(images())
    restored = noisy(clean)
    scores = image_scores(restored, clean, hidden)
    assert (scores["psnr-pasted"] > scores["psnr"]).all()
    pasted = image_scores(torch.where(hidden, restored, clean), clean, hidden)
    assert torch.equal(pasted["psnr-masked"], scores["psnr-masked"])
    assert torch.equal(pasted["psnr"], scores["psnr-pasted"])


def test_scores_are_of_bytes_as_they_are_saved() -> None:
    clean = images()
    slightly = clean + 1e-4 * torch.sign(clean - quantised(clean).div(127.5).sub(1).float())
    rounded = quantised(slightly).div(127.5).sub(1).float()
    assert torch.equal(image_scores(slightly, clean, None)["psnr"],
                       image_scores(rounded, clean, None)["psnr"])  # fmt: skip
