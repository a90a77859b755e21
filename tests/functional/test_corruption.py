from __future__ import annotations

import io
import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor

from functional.corruption import (
    Composition,
    Corruption,
    Gaussian,
    Masking,
    SaltAndPepper,
)
from functional.degradation import JPEG, Blur, Downsample, Grey
from functional.images import to_float, to_uint8
from functional.masking import BatchNoise
from functional.operators import AddedNoise, chosen_pixels, noise_level
from functional.seeding import ImageNoise

SHAPE = (3, 8, 8)
EVERY: list[Corruption] = [
    Gaussian(0.5),
    Gaussian([0.1, 0.8]),
    Gaussian([0.1, 0.8], spacing="log", clip=True),
    Masking(0.25),
    Masking(0.5, patch=4, kind="block", value=0.0),
    SaltAndPepper(0.4),
    Blur(1.5),
    Downsample(2),
    Grey(),
    JPEG(10),
    Composition([Blur(1.0), Gaussian(0.1)]),
]


def images(n: int = 4, shape: tuple[int, int, int] = SHAPE) -> Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def corrupted(corruption: Corruption, x: Tensor, seeds: Any = range(4)) -> Tensor:
    return corruption.draw(ImageNoise(seeds), tuple(x.shape[1:])).apply(x)  # type: ignore[arg-type]


@pytest.mark.parametrize("corruption", EVERY, ids=repr)
def test_image_i_is_corrupted_by_seed_i_alone_and_the_same_at_each_call(
    corruption: Corruption,
) -> None:
    x = images()
    operator = corruption.draw(ImageNoise(range(4)), SHAPE)
    before = x.clone()
    seen = operator.apply(x)
    assert torch.equal(operator.apply(x), seen) and torch.equal(x, before)
    assert seen.shape == x.shape and not torch.equal(seen, x)
    assert torch.equal(corrupted(corruption, x[[2, 0]], [2, 0]), seen[[2, 0]])


@pytest.mark.parametrize("corruption", EVERY, ids=repr)
def test_a_corruption_is_described_by_plain_values(corruption: Corruption) -> None:
    described = corruption.describe()
    assert json.loads(json.dumps(described)) == described
    assert described["corruption"] == corruption.name


# Noise


def test_gaussian_noise_has_its_moments_on_images_in_0_1_and_is_independent() -> None:
    """Of images whose range is 2 the standard deviation is 2 sigma; nothing is clipped."""
    x = images(200)
    noise = corrupted(Gaussian(0.4), x, range(200)) - x
    flat = noise.flatten(1)
    n = flat.numel()
    assert abs(flat.mean()) < 4 * 0.8 / math.sqrt(n)
    assert flat.std() == pytest.approx(0.8, abs=4 * 0.8 / math.sqrt(2 * n))
    assert (flat**4).mean() / 0.8**4 == pytest.approx(3, abs=0.2)
    assert (x + noise).abs().max() > 2
    between_pixels = np.corrcoef(flat.numpy(), rowvar=False) - np.eye(flat.shape[1])
    between_images = np.corrcoef(flat.numpy()) - np.eye(len(flat))
    with_the_image = np.corrcoef(flat.flatten().numpy(), x.flatten().numpy())[0, 1]
    assert abs(between_pixels).max() < 6 / math.sqrt(200)
    assert abs(between_images).max() < 6 / math.sqrt(192)
    assert abs(with_the_image) < 4 / math.sqrt(n)


@pytest.mark.parametrize("spacing", ["uniform", "log"])
def test_levels_of_a_range_are_known_and_spread_as_named(spacing: str) -> None:
    corruption = Gaussian([0.05, 0.8], spacing)
    operator = corruption.draw(ImageNoise(range(2000)), (1, 4, 4))
    levels = operator.noise_level
    assert levels.min() >= 0.05 and levels.max() <= 0.8
    middle = 0.425 if spacing == "uniform" else math.sqrt(0.05 * 0.8)
    assert levels.median() == pytest.approx(middle, rel=0.1)
    x = images(2000, (1, 4, 4))
    spread = (operator.apply(x) - x).flatten(1)
    assert (spread / operator.std[:, None]).std() == pytest.approx(1, abs=0.02)
    assert torch.equal(operator.std, 2 * levels)


def test_without_noise_nothing_changes_and_clipping_holds_the_range() -> None:
    x = images()
    assert torch.equal(corrupted(Gaussian(0.0), x), x)
    clipped, free = (corrupted(Gaussian(0.5, clip=c), x) for c in (True, False))
    assert torch.equal(clipped, free.clamp(-1, 1)) and not torch.equal(clipped, free)


def test_training_noise_follows_torchs_generator() -> None:
    def drawn() -> AddedNoise:
        return Gaussian([0.1, 0.5]).draw(BatchNoise(4, "cpu"), SHAPE)

    torch.manual_seed(1)
    one, other = drawn(), drawn()
    torch.manual_seed(1)
    assert torch.equal(drawn().noise, one.noise)
    assert not torch.equal(one.noise_level, other.noise_level)


# Masks and impulses


@pytest.mark.parametrize("patch", [1, 2])
def test_masking_sets_an_exact_share_to_the_black_that_is_the_papers_zero(patch: int) -> None:
    operator = Masking(0.25, patch).draw(ImageNoise(range(4)), SHAPE)
    assert operator.mask.float().mean(dim=(1, 2, 3)).tolist() == [0.25] * 4
    x = images()
    seen = operator.apply(x)
    hidden = operator.mask.expand_as(x)
    assert (seen[hidden] == -1).all() and torch.equal(seen[~hidden], x[~hidden])
    grey = Masking(0.25, patch, value=0.0).draw(ImageNoise(range(4)), SHAPE)
    assert torch.equal(grey.mask, operator.mask) and (grey.apply(x)[hidden] == 0).all()


def test_salt_and_pepper_falls_on_an_exact_share_black_or_white_by_a_fair_coin() -> None:
    x = images(300)
    operator = SaltAndPepper(0.25).draw(ImageNoise(range(300)), SHAPE)
    seen = operator.apply(x)
    chosen = operator.chosen.expand_as(x)
    assert operator.chosen.float().mean(dim=(1, 2, 3)).tolist() == [0.25] * 300
    assert torch.equal(seen[~chosen], x[~chosen])
    salt = seen[chosen] == 1
    assert ((seen[chosen] == -1) | salt).all()
    assert salt.float().mean() == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(300 * 16))
    assert not hasattr(operator, "mask")


# What is no noise, against independent implementations


def test_blur_is_that_of_scipy_with_edges_repeated() -> None:
    x = images(2, (1, 20, 24))
    wanted = ndimage.gaussian_filter(x.double().numpy(), (0, 0, 1.5, 1.5), mode="nearest")
    np.testing.assert_allclose(corrupted(Blur(1.5), x).numpy(), wanted, atol=1e-6)


def test_downsampling_shows_means_of_squares() -> None:
    x = images()
    means = x.view(4, 3, 4, 2, 4, 2).mean(dim=(3, 5))
    wanted = means.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    torch.testing.assert_close(corrupted(Downsample(2), x), wanted)


def test_grey_is_pillows_luma_in_three_equal_channels() -> None:
    x = to_float(to_uint8(images(1)))
    seen = corrupted(Grey(), x)
    pixels = to_uint8(x)[0].permute(1, 2, 0).numpy()
    wanted = torch.from_numpy(np.array(Image.fromarray(pixels).convert("L")))
    assert (to_uint8(seen)[0].int() - wanted.int()).abs().max() <= 1
    assert torch.equal(seen[:, 0], seen[:, 2])


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_that_of_pillow(channels: int) -> None:
    x = images(1, (channels, 32, 32))
    seen = corrupted(JPEG(30), x)
    pixels = to_uint8(x)[0].permute(1, 2, 0).squeeze(2).numpy() if channels == 1 else None
    pixels = to_uint8(x)[0].permute(1, 2, 0).numpy() if pixels is None else pixels
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=30)
    read = torch.from_numpy(np.array(Image.open(stream))).view(32, 32, channels).permute(2, 0, 1)
    assert (to_uint8(seen)[0].float() - read.float()).abs().mean() < 2


# Sequences


def test_a_composition_applies_its_parts_in_order() -> None:
    x = images()
    noise = ImageNoise(range(4))
    first = Blur(1.0).draw(noise, SHAPE).apply(x)
    second = Gaussian(0.1).draw(noise, SHAPE).apply(first)
    assert torch.equal(corrupted(Composition([Blur(1.0), Gaussian(0.1)]), x), second)


def test_a_composition_knows_its_noise_level_and_what_all_its_parts_leave_intact() -> None:
    def drawn(*parts: Corruption) -> Any:
        return Composition(parts).draw(ImageNoise(range(4)), SHAPE)

    both = drawn(Masking(0.25), Masking(0.5, patch=4))
    assert torch.equal(both.mask, both.parts[0].mask | both.parts[1].mask)
    assert noise_level(both) is None
    mixed = drawn(Masking(0.25), SaltAndPepper(0.5))
    assert mixed.mask is None
    assert torch.equal(chosen_pixels(mixed), mixed.parts[0].mask | mixed.parts[1].chosen)
    noisy = drawn(Masking(0.25), Gaussian(0.2))
    assert noisy.mask is None and chosen_pixels(noisy) is None
    assert noise_level(noisy).tolist() == pytest.approx([0.2] * 4)


# Refusals


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gaussian(-0.1), r"sigma=-0.1 of Gaussian noise; expected 0 or more"),
        (lambda: Gaussian([0.8, 0.1]), r"sigma=\[0.8, 0.1\]"),
        (lambda: Gaussian([0.1, 0.2, 0.3]), r"one level or \[lowest, highest\]"),
        (lambda: Gaussian(math.nan), "sigma=nan"),
        (lambda: Gaussian([0.1, 0.8], spacing="linear"), "unknown spacing 'linear'"),
        (lambda: Gaussian([0.0, 0.8], spacing="log"), "spacing=uniform"),
        (lambda: Masking(1.0), r"ratio=1.0 of the pixels; expected a share in \[0, 1\)"),
        (lambda: Masking(0.5, kind="spiral"), "unknown kind of mask 'spiral'"),
        (lambda: SaltAndPepper(-0.1), "ratio=-0.1"),
        (lambda: Blur(0.0), "sigma=0.0 of a blur"),
        (lambda: Downsample(1), "factor=1"),
        (lambda: JPEG(0), "quality=0 of JPEG"),
        (lambda: Composition([]), "at least one part"),
        (lambda: Grey().check((1, 8, 8)), "1 channel have no colour.*data=shapes"),
        (lambda: Downsample(3).check((1, 8, 8)), "8 pixels does not divide"),
        (lambda: Masking(0.5, patch=3).check((1, 8, 8)), "8 pixels does not divide"),
        (lambda: JPEG(10).check((2, 8, 8)), "not of 2"),
        (lambda: Composition([Blur(1.0), Grey()]).check((1, 8, 8)), "no colour"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
