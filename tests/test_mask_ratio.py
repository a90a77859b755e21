from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from benchmarks.mask_ratio import (
    DEPTHS,
    RATIOS,
    SETTINGS,
    Setting,
    draw,
    gains,
    measure,
    networks,
    table,
)


def test_every_setting_is_timed_and_told(tmp_path: Path) -> None:
    *_, seconds = measure("vit_tiny_patch16_224", 32, 8, width=32, batch=1, blocks=1)
    assert seconds.keys() == set(SETTINGS) and min(seconds.values()) > 0
    lines = table(seconds).splitlines()
    assert len(lines) == 2 + len(RATIOS) + 2 and lines[2].count("(1.00 x)") == 1 + len(DEPTHS)
    draw(seconds, "vit_tiny_patch16_224", tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as picture:
        assert picture.width > 400


def test_the_gain_is_over_mask_tokens_in_the_encoder() -> None:
    seconds = dict.fromkeys(SETTINGS, 2.0) | {Setting(8, 0.75, tokens=True): 6.0}
    assert gains(seconds) == {8: pytest.approx(3.0), 1: pytest.approx(1.0)}


def test_all_networks_share_one_encoder() -> None:
    made = networks("vit_tiny_patch16_224", 32, 16, 32, "cpu")
    assert len({id(network.encoder) for network in made.values()}) == 1
    assert made[8, True].mask_token is not None and made[8, False].mask_token is None
