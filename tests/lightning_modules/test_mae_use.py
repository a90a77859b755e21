"""What a trained masked autoencoder is used for: restoring, features, pictures."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from functional.masking import MaskOperator
from functional.patches import patches_of_pixels, pixels_of_patches
from lightning_modules.mae import MAE
from tests.lightning_modules.tiny import SIZE
from tests.lightning_modules.tiny_mae import PATCH, PATCHES, batch, images, mae

# Restoring


def operator(hidden: Tensor) -> MaskOperator:
    return MaskOperator("test", pixels_of_patches(hidden, (PATCH, PATCH), (SIZE, SIZE)))


def test_restoring_pastes_visible_pixels_to_the_bit_and_leaves_the_raw_output() -> None:
    module, x = mae(), images()
    hidden = torch.rand(4, PATCHES, generator=torch.Generator().manual_seed(1)) < 0.6
    corrupted = operator(hidden).apply(x)
    raw = module.restore(corrupted, operator(hidden), seeds=range(4))
    assert raw.shape == x.shape and raw.abs().max() <= 1
    pasted = operator(hidden).paste(raw, corrupted)
    shown = ~operator(hidden).mask
    assert torch.equal(pasted.masked_select(shown), x.masked_select(shown))
    assert not torch.equal(raw.masked_select(shown), x.masked_select(shown))


def test_restoring_needs_no_equal_counts_and_each_image_stands_alone() -> None:
    module, x = mae(), images()
    hidden = torch.zeros(4, PATCHES, dtype=torch.bool)
    for row, count in zip(hidden, (0, 3, 15, 3), strict=True):
        row[:count] = True
    together = module.restore(x, operator(hidden), seeds=range(4))
    for i in range(4):
        alone = module.restore(x[i : i + 1], operator(hidden[i : i + 1]), seeds=[i])
        torch.testing.assert_close(alone[0], together[i])


def test_a_patch_with_one_hidden_pixel_is_hidden_whole_and_one_mask_serves_all() -> None:
    module, x = mae(), images()
    pixel = torch.zeros(1, 1, SIZE, SIZE, dtype=torch.bool)
    pixel[..., 3, 4] = True
    one = MaskOperator("pixel", pixel)
    whole = operator(patches_of_pixels(pixel, (PATCH, PATCH)).expand(4, -1))
    assert torch.equal(
        module.restore(x, one, seeds=range(4)), module.restore(x, whole, seeds=range(4))
    )
    changed = torch.where(whole.mask, torch.rand_like(x), x)
    assert torch.equal(
        module.restore(changed, one, seeds=range(4)), module.restore(x, one, seeds=range(4))
    )


def test_an_image_that_is_hidden_whole_is_refused() -> None:
    hidden = torch.ones(4, PATCHES, dtype=torch.bool)
    with pytest.raises(ValueError, match="at least 1"):
        mae().restore(images(), operator(hidden), seeds=range(4))


def test_with_normalised_targets_nothing_can_be_restored_but_pictures_are_shown() -> None:
    module = mae(normalised_targets=True)
    assert module.capabilities == {"features"}
    with pytest.raises(ValueError, match="normalised_targets=false"):
        module.restore(images(), operator(torch.zeros(4, PATCHES).bool()), seeds=range(4))
    x, visible = images(), torch.arange(4).expand(4, -1)
    module.network.decoder.pred.weight.data.zero_()
    module.network.decoder.pred.bias.data.zero_()
    means = torch.nn.functional.avg_pool2d(x, PATCH).repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(module.predict(x, visible), means)


# The contract


def test_what_it_can_do_is_what_it_overrides() -> None:
    assert MAE.capabilities == mae().capabilities == {"restore", "features"}
    assert mae().image_shape == (1, SIZE, SIZE) and mae().ema_modules == ()


def test_features_are_those_of_the_whole_image() -> None:
    for pooling in ("mean", "token"):
        module = mae(pooling=pooling)
        features = module.features(images())
        assert torch.equal(features, module.network.features(images(), pooling))
        assert features.shape == (4, 16) and not features.requires_grad


@pytest.mark.parametrize("normalised", [False, True])
def test_previews_show_reconstructions_ratios_kinds_and_attention(normalised: bool) -> None:
    module = mae(normalised_targets=normalised)
    shown = module.previews(batch(5))
    shapes = {name: tuple(rows.shape[:2]) for name, rows in shown.items()}
    assert shapes == {
        "reconstruction": (5, 4), "mask_ratios": (7, 4), "mask_kinds": (3, 4), "attention": (5, 3),
    }  # fmt: skip
    for rows in shown.values():
        assert rows.shape[2:] == (1, SIZE, SIZE)
        assert rows.abs().max() <= 1 and rows.dtype == torch.float32 and not rows.requires_grad
    again = module.previews(batch(5))
    assert all(torch.equal(rows, again[name]) for name, rows in shown.items())
    grey = (shown["mask_ratios"][:, 0] == 0).flatten(1).float().mean(dim=1)
    assert grey.tolist() == [8 / 16, 10 / 16, 11 / 16, 12 / 16, 13 / 16, 14 / 16, 15 / 16]


def test_operations_are_those_of_a_masked_pass() -> None:
    module = mae()

    def blocks(depth: int, tokens: int) -> int:
        return depth * (2 * tokens * 12 * 16**2 + 4 * tokens**2 * 16)

    encoder = 2 * 4 * 4 * 16 + blocks(2, 5)
    decoder = 2 * 5 * 16 * 16 + blocks(1, 17) + 2 * 16 * 16 * 4
    assert module.forward_flops() == encoder + decoder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask": "stripes"}, "unknown kind of mask"),
        ({"mask_ratio": 1.0}, r"outside \[0, 1\)"),
        ({"mask_ratio": 0.98}, "leaves none of 16 patches"),
        ({"mask_ratio": 0.0}, "no patch to learn from; set loss_on_all=True"),
        ({"repeats": 0}, "repeats=0"),
        ({"base_batch": 0}, "base_batch=0"),
        ({"pooling": "max"}, "unknown pooling"),
        ({"decay": "step"}, "unknown learning-rate decay"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mae(**changes)
