"""Time of a masked autoencoder's training step against the share of patches that is hidden.

``python benchmarks/mask_ratio.py [--model NAME] [--blocks 5] [--figure FILE.png] ...``

Forward and backward pass, of the encoder alone and of the whole with a decoder, for an encoder of
visible patches and for one that sees mask tokens too (He et al. 2022, table 1c and table 2). The
optimiser's step is left out: it knows nothing of masks, and in the paper's batches is next to
nothing. All settings take turns in each block, so that a machine that slows down slows all of them,
and on a CPU the clock is that of the process, so that neighbours are not counted.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from functional.masking import BatchNoise, draw_mask  # noqa: E402
from functional.patches import reconstruction_loss  # noqa: E402
from networks.masked_vit import MaskedViT  # noqa: E402

RATIOS = (0.0, 0.25, 0.5, 0.75, 0.9)
DEPTHS = (8, 1)
PAPER = (2.8, 4.1)
"""He et al. (2022), table 2: how many times faster without mask tokens in the encoder, ViT-L with a
decoder of 8 blocks to ViT-H with one of 1 block, at a ratio of 0.75."""


class Setting(NamedTuple):
    """What is timed: a decoder's ``depth`` (0 is the encoder alone), the mask ``ratio``, and
    whether the encoder sees mask ``tokens``."""

    depth: int
    ratio: float
    tokens: bool = False


SETTINGS = [
    *(Setting(depth, ratio) for depth in (0, *DEPTHS) for ratio in RATIOS),
    *(Setting(depth, 0.75, tokens=True) for depth in DEPTHS),
]


def networks(
    model: str, image: int, patch: int, width: int, device: str
) -> dict[tuple[int, bool], MaskedViT]:
    """Give the networks by depth of the decoder and mask tokens; they share one encoder."""
    made = {
        (depth, tokens): MaskedViT(
            model, 3, image, patch, width, depth, 16, mask_tokens_in_encoder=tokens
        )
        for depth in DEPTHS
        for tokens in (False, True)
    }
    encoder = made[DEPTHS[0], False].encoder
    for network in made.values():
        network.encoder = encoder
        network.to(device)
    return {**made, (0, False): made[DEPTHS[0], False]}


def a_pass(network: MaskedViT, batch: int, setting: Setting) -> Callable[[], None]:
    """Give a function that goes forward and backward once on random images."""
    device = network.shift.device
    height, width = network.image_size
    images = torch.rand(batch, network.channels, height, width, device=device) * 2 - 1

    def run() -> None:
        visible = draw_mask("random", network.grid, setting.ratio, BatchNoise(batch, device))
        if setting.depth:
            predicted = network(images, visible)
            loss = reconstruction_loss(predicted, network.targets(images), None).mean()
        else:
            loss = network.encode(images, visible).square().mean()
        loss.backward()

    return run


def clock(device: str) -> float:
    """Give seconds: of the process on a CPU, of the wall on an accelerator that has caught up."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def measure(
    model: str, image: int, patch: int, width: int, batch: int, blocks: int
) -> Iterator[dict[Setting, float]]:
    """Give the median seconds of each setting so far, block by block.

    Each network goes through its quickest pass before, to warm up.

    Args:
        model: timm's name of the encoder.
        image, patch: side lengths in pixels.
        width: of the decoder.
        batch: images of a pass.
        blocks: passes of each setting that count.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    made = networks(model, image, patch, width, device)
    passes = {s: a_pass(made[s.depth, s.tokens], batch, s) for s in SETTINGS}
    seconds: dict[Setting, list[float]] = {setting: [] for setting in passes}
    for setting in passes:
        if setting.ratio == max(RATIOS) or setting.tokens:
            passes[setting]()
    for _ in range(blocks):
        for setting, run in passes.items():
            started = clock(device)
            run()
            seconds[setting].append(clock(device) - started)
        yield {setting: statistics.median(values) for setting, values in seconds.items()}


def gains(seconds: dict[Setting, float]) -> dict[int, float]:
    """Give how many times faster the whole is at 0.75 without mask tokens in the encoder, by depth
    of the decoder."""
    return {
        depth: seconds[Setting(depth, 0.75, tokens=True)] / seconds[Setting(depth, 0.75)]
        for depth in DEPTHS
    }


def table(seconds: dict[Setting, float]) -> str:
    """Give the medians, and how many times faster than a ratio of 0, as Markdown."""
    heads = ["mask ratio", "encoder", *(f"with a decoder of depth {depth}" for depth in DEPTHS)]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for ratio in RATIOS:
        cells = []
        for depth in (0, *DEPTHS):
            took, whole = seconds[Setting(depth, ratio)], seconds[Setting(depth, 0.0)]
            cells.append(f"{took:.3f} s ({whole / took:.2f} x)")
        lines.append(f"| {ratio:g} | {' | '.join(cells)} |")
    told = ", ".join(f"{gain:.2f} x at depth {depth}" for depth, gain in gains(seconds).items())
    return "\n".join([*lines, "", f"Without mask tokens in the encoder, at 0.75: {told}."])


def draw(seconds: dict[Setting, float], model: str, path: Path) -> None:
    """Write the figure: time over that at a ratio of 0, against the ratio."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot(
        xlabel="mask ratio", ylabel="time of a pass, over that at a ratio of 0", ylim=(0, 1.05)
    )
    axes.axhspan(1 / PAPER[1], 1 / PAPER[0], color="0.9", label="paper: 1/4.1 to 1/2.8, at 0.75")
    for depth, label in ((0, "encoder"), (8, "with 8 decoder blocks"), (1, "with 1 decoder block")):
        times = [seconds[Setting(depth, r)] / seconds[Setting(depth, 0.0)] for r in RATIOS]
        axes.plot(RATIOS, times, marker="o", label=label)
    for depth, gain in gains(seconds).items():
        axes.plot(0.75, 1 / gain, "x", label=f"over mask tokens, {depth} decoder: {gain:.2f} x")
    axes.set_title(f"{model}, forward and backward")
    axes.legend(loc="lower left", fontsize="small")
    figure.savefig(path, dpi=150)


def main() -> None:
    """Parse the command line, measure, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", default="vit_tiny_patch16_224")
    numbers = {"image": 224, "patch": 16, "width": 512, "batch": 1, "blocks": 5}
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--figure", type=Path, default=None, help="where the figure goes")
    settings = vars(parser.parse_args())
    figure = settings.pop("figure")
    for block, seconds in enumerate(measure(**settings), start=1):
        print(f"\nAfter {block} of {settings['blocks']} blocks\n\n{table(seconds)}", flush=True)
        if figure:
            draw(seconds, settings["model"], figure)


if __name__ == "__main__":
    main()
