from __future__ import annotations

from benchmarks.mask_ratio import RATIOS, measure, table


def test_the_cost_of_a_step_is_measured_for_each_ratio_and_kind_of_encoder() -> None:
    seconds = measure("vit_tiny_patch16_224", 32, 8, batch=1, blocks=1, steps=1)
    assert len(seconds) == 2 * len(RATIOS) and min(seconds.values()) > 0
    lines = table(seconds).splitlines()
    assert len(lines) == 2 + len(RATIOS) and lines[2].count("(1.00 x)") == 2
