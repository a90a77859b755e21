"""Time of a masked autoencoder's training step against the share of patches that is hidden.

``python benchmarks/mask_ratio.py [--model NAME] [--batch 8] [--blocks 8] ...``

For an encoder of visible patches, as in the paper, and for one that sees mask tokens too (He et al.
2022, table 1c). All settings take turns in each block, so that a machine that slows down slows all
of them; the table has medians of seconds per step, and how many times faster than at a ratio of 0.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.bare_loop import synchronize  # noqa: E402
from functional.masking import BatchNoise, draw_mask  # noqa: E402
from functional.patches import reconstruction_loss  # noqa: E402
from networks.masked_vit import MaskedViT  # noqa: E402

RATIOS = (0.0, 0.25, 0.5, 0.75, 0.9)
Setting = tuple[bool, float]
"""Whether the encoder sees mask tokens, and the mask ratio."""


def training_step(
    model: str, image: int, patch: int, batch: int, setting: Setting
) -> Callable[[], None]:
    """Give a function that takes one step of AdamW on random images, loss over all patches."""
    tokens, ratio = setting
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = MaskedViT(model, 3, image, patch, 512, 8, 16, mask_tokens_in_encoder=tokens)
    network = network.to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    images = torch.rand(batch, 3, image, image, device=device) * 2 - 1

    def step() -> None:
        visible = draw_mask("random", network.grid, ratio, BatchNoise(batch, device))
        predicted = network(images, visible)
        reconstruction_loss(predicted, network.targets(images), None).mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def measure(
    model: str, image: int, patch: int, batch: int, blocks: int, steps: int
) -> dict[Setting, float]:
    """Give the median seconds per step of each setting."""
    settings = [(tokens, ratio) for tokens in (False, True) for ratio in RATIOS]
    taken = {s: training_step(model, image, patch, batch, s) for s in settings}
    seconds: dict[Setting, list[float]] = {s: [] for s in settings}
    for block in range(blocks + 1):
        for setting, step in taken.items():
            synchronize()
            started = time.perf_counter()
            for _ in range(steps):
                step()
            synchronize()
            if block:  # the first one warms up
                seconds[setting].append((time.perf_counter() - started) / steps)
    return {setting: statistics.median(values) for setting, values in seconds.items()}


def table(seconds: dict[Setting, float]) -> str:
    """Give the medians as Markdown."""
    lines = ["| mask ratio | visible patches alone | with mask tokens |", "|---|---|---|"]
    for ratio in RATIOS:
        cells = []
        for tokens in (False, True):
            took, whole = seconds[tokens, ratio], seconds[tokens, 0.0]
            cells.append(f"{took:.4f} s ({whole / took:.2f} x)")
        lines.append(f"| {ratio:g} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", default="vit_tiny_patch16_224")
    for name, default in (("image", 224), ("patch", 16), ("batch", 8), ("blocks", 8), ("steps", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    print(table(measure(**vars(parser.parse_args()))))


if __name__ == "__main__":
    main()
