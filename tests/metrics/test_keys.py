from __future__ import annotations

import pytest

from metrics.keys import ScoreKey, direction, parse_key

KEYS = {
    "gen/fid/fmnist_cnn@10k": ScoreKey("gen", (), "fid", "fmnist_cnn@10k"),
    "gen/fid-raw/timm:vit_tiny@2k": ScoreKey("gen", (), "fid-raw", "timm:vit_tiny@2k"),
    "restore/x-75/bilinear/psnr": ScoreKey("restore", ("x-75", "bilinear"), "psnr"),
    "restore/floor/fid/inception@10k": ScoreKey("restore", ("floor",), "fid", "inception@10k"),
    "probe/linear/top1": ScoreKey("probe", ("linear",), "top1"),
    "probe/finetune/top1@1000": ScoreKey("probe", ("finetune",), "top1@1000"),
    "val/loss": ScoreKey("val", (), "loss"),
}  # fmt: skip


@pytest.mark.parametrize("text", KEYS)
def test_a_key_has_its_parts_and_is_put_together_again(text: str) -> None:
    assert parse_key(text) == KEYS[text]
    assert str(parse_key(text)) == text


@pytest.mark.parametrize(
    ("metric", "better"),
    [
        ("fid", -1), ("fid-raw", -1), ("kid", -1), ("loss", -1), ("bits_per_dim", -1),
        ("precision", 1), ("recall", 1), ("density", 1), ("coverage", 1), ("inception_score", 1),
        ("psnr-masked", 1), ("masked_psnr", 1), ("ssim-pasted", 1), ("top1", 1), ("top1@1000", 1),
        ("accuracy", 1), ("kid_std", 0), ("inception_score_std", 0), ("nn_distance", 0),
        ("nn_distance-heldout", 0),
    ],
)  # fmt: skip
def test_it_is_known_which_way_a_score_gets_better(metric: str, better: int) -> None:
    assert direction(metric) == better
