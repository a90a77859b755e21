"""The U-Net of Ho et al. (2020) for CIFAR-10 in our code and in diffusers', interleaved in one run.

``python benchmarks/unet_speed.py [--batch 16] [--blocks 8] [--steps 2] [--precision bf16]``

Both have 35,746,307 parameters, the same weights and so the same output, and are trained by the
same loss, clip and fused Adam. A block of steps of one is followed by a block of the other; the
ratio of neighbouring blocks is taken, so that a machine that slows down slows both. Dropout is off:
it would take the outputs apart. Operations are counted on the networks, a step as three passes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.bare_loop import synchronize
from networks.diffusers_unet import unet_settings, unet_weights
from networks.unet import UNet

CIFAR10: dict[str, Any] = {
    "sample_size": 32, "in_channels": 3, "out_channels": 3, "layers_per_block": 2,
    "block_out_channels": (128, 256, 256, 256),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    "downsample_padding": 0, "flip_sin_to_cos": False, "freq_shift": 1, "norm_eps": 1e-6,
    "norm_num_groups": 32, "attention_head_dim": None, "time_embedding_type": "positional",
}  # fmt: skip
Network = Callable[[Tensor, Tensor], Tensor]


class Rival(NamedTuple):
    """A network and how its output is had."""

    module: nn.Module
    output: Network


def rivals(device: torch.device, channels_last: bool = True) -> tuple[Rival, Rival]:
    """Give our network and diffusers' with the same weights."""
    from diffusers import UNet2DModel

    torch.manual_seed(0)
    theirs = UNet2DModel(**CIFAR10)
    settings = unet_settings(CIFAR10)
    ours = UNet(**settings, channels_last=channels_last)
    ours.load_state_dict(unet_weights(theirs.state_dict(), settings))
    ours, theirs = ours.to(device).train(), theirs.to(device).train()
    return Rival(ours, ours), Rival(theirs, lambda x, t: theirs(x, t).sample)


class Work:
    """Steps of training or sampling by one network, on the same random images for all.

    Args:
        rival: the network.
        shape: of a batch.
        device: where.
        autocast: gives the context of the precision.
    """

    def __init__(
        self,
        rival: Rival,
        shape: tuple[int, ...],
        device: torch.device,
        autocast: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        self.rival, self.autocast = rival, autocast
        generator = torch.Generator().manual_seed(1)
        self.x, self.eps = (torch.randn(shape, generator=generator).to(device) for _ in range(2))
        self.t = torch.randint(1000, shape[:1], generator=generator).to(device)
        self.optimizer = torch.optim.Adam(rival.module.parameters(), lr=2e-4, fused=True)

    def output(self) -> Tensor:
        """Give what the network makes of the images, float32."""
        with self.autocast():
            return self.rival.output(self.x, self.t).float()

    def train(self) -> None:
        """Take one step of L_simple."""
        loss = (self.output() - self.eps).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.rival.module.parameters(), 1.0)
        self.optimizer.step()

    @torch.inference_mode()
    def sample(self) -> None:
        """Evaluate once, as a sampler does."""
        self.output()

    def tflop(self) -> float:
        """Give 10^12 operations of one evaluation of the batch."""
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            self.output()
        return counter.get_total_flops() / 1e12


def check_equal(works: list[Work]) -> None:
    """Refuse to compare networks whose outputs differ by more than rounding (ValueError)."""
    with torch.no_grad():
        one, other = (work.output() for work in works)
    off = float((one - other).abs().max() / other.std())
    if off > (1e-3 if works[0].autocast is nullcontext else 0.1):
        raise ValueError(f"the outputs differ by {off:.1e} of their standard deviation")


def seconds(step: Callable[[], None], steps: int) -> float:
    """Give the time that ``steps`` steps take."""
    synchronize()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    synchronize()
    return time.perf_counter() - start


def interleaved(
    steps: tuple[Callable[[], None], Callable[[], None]], count: int, blocks: int
) -> list[tuple[float, float]]:
    """Give the times of ``blocks`` blocks of ``count`` steps, after one of each to warm up.

    Each block begins with the other of the two.
    """
    found = []
    for block in range(blocks + 1):
        order = (0, 1) if block % 2 else (1, 0)
        took = {i: seconds(steps[i], count) for i in order}
        found.append((took[0], took[1]))
    return found[1:]


def line(what: str, times: list[tuple[float, float]], images: int, tflop: float) -> str:
    """Give a row of the table: rates of both, and the ratio of theirs over ours."""
    ratios = sorted(theirs / ours for ours, theirs in times)
    ours, theirs = (statistics.median(column) for column in zip(*times, strict=True))
    low, high = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
    cells = [
        what,
        *(f"{images / took:.2f} | {tflop / took:.3f}" for took in (ours, theirs)),
        f"{statistics.median(ratios):.3f} ({low:.3f} to {high:.3f})",
    ]
    return f"| {' | '.join(cells)} |"


def table(works: list[Work], count: int, blocks: int) -> str:
    """Measure training and sampling; give the table."""
    batch, tflop = len(works[0].x), works[0].tflop()
    rows = [
        "| | ours, images/s | TFLOP/s | diffusers, images/s | TFLOP/s | ratio (quartiles) |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for what, passes in (("training", 3), ("sampling", 1)):
        one, other = (work.train if what == "training" else work.sample for work in works)
        times = interleaved((one, other), count * (4 - passes), blocks)
        images = batch * count * (4 - passes)
        rows.append(line(what, times, images, passes * tflop * images / batch))
        print(rows[-1], file=sys.stderr, flush=True)
    return "\n".join(rows)


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--steps", type=int, default=2, help="training steps of a block")
    parser.add_argument("--precision", choices=("32", "bf16"), default="32")
    parser.add_argument("--contiguous", action="store_true", help="ours not in channels_last")
    asked = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def mixed() -> AbstractContextManager[Any]:
        return torch.autocast(device.type, dtype=torch.bfloat16)

    autocast = nullcontext if asked.precision == "32" else mixed
    pair = rivals(device, not asked.contiguous)
    found = [sum(p.numel() for p in rival.module.parameters()) for rival in pair]
    works = [Work(rival, (asked.batch, 3, 32, 32), device, autocast) for rival in pair]
    check_equal(works)
    print(
        f"{found[0]:,} and {found[1]:,} parameters; batch {asked.batch}, {asked.precision} bits, "
        f"{device.type}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    print(table(works, asked.steps, asked.blocks))


if __name__ == "__main__":
    main()
