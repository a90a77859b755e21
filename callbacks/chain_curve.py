"""FID of the images along the chain that makes them, as numbers and a chart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from lightning import Trainer
from torch import Tensor

from callbacks.line_plot import line_plot
from callbacks.pictures import log_picture, save_picture
from callbacks.run_record import record_protocol
from callbacks.tracker import Tracker
from functional.images import to_uint8
from functional.seeding import image_seeds
from lightning_modules.base import ImageModule
from metrics.generation import GenerationMetrics
from metrics.protocol import metric_key


class ChainCurve(Tracker):
    """Scores in the test what a chain shows after some of its steps: ``gen/fid-at-<step>/...``.

    Saved as ``samples/fid_along_chain.png``. All points are of the same ``n`` chains, which go on
    from one point to the next. A method has the capability "chain" and its ``sample`` takes
    ``trace``, told the step, where the chain stands, and the images it shows; others are left
    alone.

    Args:
        steps: after which is measured, where the chain is as long; its end always is.
        extractor: a name that ``metrics.extractors.build_extractor`` takes.
        extractor_weights, extractor_sha256: local weights and their hash, or None.
        n: chains.
        seed: names the stream of images.
        cache: folder of reference statistics.

    Raises:
        ValueError: for a step below 1, or numbers that :class:`Tracker` refuses.
    """

    def __init__(
        self,
        steps: Sequence[int],
        extractor: str,
        extractor_weights: str | None,
        extractor_sha256: str | None,
        n: int,
        seed: int,
        cache: str,
    ) -> None:
        super().__init__(extractor, extractor_weights, extractor_sha256, n, n, 1, seed, cache)
        if min(steps, default=1) < 1:
            raise ValueError(f"steps={list(steps)} of a chain; expected 1 or more")
        self.steps = sorted(set(steps))

    def begin(self, module: ImageModule) -> bool:
        return "chain" in module.capabilities

    def score(self, trainer: Trainer, module: ImageModule, n: int, final: bool) -> None:
        if not final:
            return
        scorers: dict[int, GenerationMetrics] = {}
        # Every process has a chunk, so that all hold the same scorers when they gather.
        size = min(module.chunk_size, -(-n // trainer.world_size))
        for start in range(size * trainer.global_rank, n, size * trainer.world_size):
            indices = torch.arange(start, min(start + size, n))
            for step, images in self._shown(module, indices).items():
                scorers.setdefault(step, self.scorer(["fid"])).update(images, indices)
        curve = {step: scorers[step].compute()["fid"] for step in sorted(scorers)}
        self._report(trainer, module, n, curve)

    def _shown(self, module: ImageModule, indices: Tensor) -> dict[int, Tensor]:
        """Give uint8 images by step, of chains of their own seeds."""
        seen: dict[int, Tensor] = {}
        last = 0

        def keep(step: int, state: Tensor, shown: Tensor) -> None:
            nonlocal last
            last = step
            if step in self.steps:
                seen[step] = to_uint8(shown).cpu()

        seeds = image_seeds(self.seed, indices.tolist())
        with torch.no_grad():
            end = module.sample(len(seeds), seeds=seeds, trace=keep)  # type: ignore[call-arg]
        return {**seen, last: to_uint8(end).cpu()}

    def _report(
        self, trainer: Trainer, module: ImageModule, n: int, curve: dict[int, float]
    ) -> None:
        weights, record = "ema" if module.evaluation_weights else "raw", module.sampling_record()
        for step, value in curve.items():
            key = metric_key("gen", f"fid-at-{step}", self.extractor_name, n)
            module.report(key, value)
            stopped = {**record, "sampler": f"{record.get('sampler')}, stopped after {step}"}
            record_protocol(trainer, self.protocol(trainer, n, weights, stopped), [key])
        if trainer.is_global_zero:
            picture = line_plot(
                {type(module).__name__: list(curve.items())},
                f"FID of {n:,} images after steps of the chain",
                "steps",
                f"FID, {self.extractor_name}",
                log_x=True,
            )
            name, seen = "fid_along_chain", module.images_seen
            save_picture(picture, Path(trainer.default_root_dir) / "samples" / f"{name}.png")
            log_picture(trainer, f"pictures/{name}", picture, f"{seen:,} images seen", seen)
