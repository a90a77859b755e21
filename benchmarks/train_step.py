"""The Trainer's time per step over that of a bare PyTorch loop, interleaved in one run.

``python benchmarks/train_step.py [--blocks 12] [--steps 20] [key=value ...]``

Both train the same network on the same data in the same precision with the same optimiser, clip and
average of weights. A block of steps through Lightning (loader, hooks, callbacks, logging) is
followed by a block of the bare loop, and so on; the ratio of neighbouring blocks is taken, so that
a machine that slows down slows both. Prints the median ratio; below 1.03 is the aim.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from lightning.pytorch.callbacks import Callback

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import experiment  # noqa: E402
from benchmarks.bare_loop import BareLoop, bare_loop, synchronize  # noqa: E402
from config import register  # noqa: E402


class Interleave(Callback):
    """After each block of the Trainer's steps, times a block of the bare loop."""

    def __init__(self, clip: float | None, steps: int, blocks: int) -> None:
        self.clip, self.steps, self.blocks = clip, steps, blocks
        self.trainer_seconds: list[float] = []
        self.bare_seconds: list[float] = []
        self._bare: BareLoop | None = None
        self._mark = 0.0

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        if pl_module.steps % self.steps:
            return
        synchronize()
        took = time.perf_counter() - self._mark
        if self._bare is None:
            self._bare = bare_loop(pl_module, trainer.datamodule, self.clip, 0.002)
            self._bare.run(3)
        else:
            self.trainer_seconds.append(took)
            self.bare_seconds.append(self._bare.run(self.steps))
            print(f"{len(self.bare_seconds):3d}: {self.ratios[-1]:.3f}", flush=True)
        if len(self.bare_seconds) >= self.blocks:
            trainer.should_stop = True
        self._mark = time.perf_counter()

    @property
    def ratios(self) -> list[float]:
        """Trainer over bare loop, block by block."""
        return [t / b for t, b in zip(self.trainer_seconds, self.bare_seconds, strict=True)]


def measure(overrides: list[str], steps: int, blocks: int) -> Interleave:
    """Train under the default configuration with ``overrides``; give the times."""
    register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("train", ["logger=none", "callbacks.progress=null", *overrides])
    cfg.budget.minutes, cfg.budget.images = None, None
    cfg.budget.steps, cfg.validate_every_images = 10**9, 10**9
    config = experiment.check(cfg)
    timing = Interleave(config["trainer"]["gradient_clip_val"], steps, blocks)
    with tempfile.TemporaryDirectory() as folder:
        built = experiment.build(config, Path(folder), "benchmark")
        built.trainer.callbacks.append(timing)  # type: ignore[attr-defined]
        built.trainer.limit_val_batches = 0
        built.trainer.fit(built.module, datamodule=built.data)
    return timing


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20, help="steps of a block")
    parser.add_argument("--blocks", type=int, default=12)
    arguments, overrides = parser.parse_known_args()
    timing = measure(overrides, arguments.steps, arguments.blocks)
    ratios = sorted(timing.ratios)
    per_step = statistics.median(timing.trainer_seconds) / arguments.steps
    print(
        f"Trainer {1e3 * per_step:.2f} ms a step; over the bare loop: median "
        f"{statistics.median(ratios):.4f}, quartiles {ratios[len(ratios) // 4]:.4f} to "
        f"{ratios[-1 - len(ratios) // 4]:.4f}"
    )


if __name__ == "__main__":
    main()
