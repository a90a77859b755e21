"""An exponential moving average of the weights, kept beside them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from functional.schedule import Schedule, check_range, value_at
from lightning_modules.base import ImageModule


class EMA(Callback):
    """Averages the sub-modules that the method names in ``ema_modules``.

    The decay of update n is min(decay, (1 + n) / (10 + n)), so that the random initialisation is
    forgotten at once. Floating-point parameters are averaged, buffers are copied. The average is
    what validation, sampling, FID and ``best.ckpt`` use; raw weights stay in ``state_dict``, the
    average lies beside them in the checkpoint under ``ema``.

    Args:
        decay: in [0, 1), or None where ``half_life`` is given; 0.9999 in Ho et al. (2020) for
            800,000 steps.
        half_life: real images after which half of an old weight is left, whatever the batch
            (Karras et al. 2022); a schedule from 0 is its own warm-up, and there is no other.

    Raises:
        ValueError: for a number out of its range, or where not exactly one of the two is given.
    """

    def __init__(self, decay: float | None, half_life: float | Schedule | None = None) -> None:
        if (decay is None) == (half_life is None):
            raise ValueError(
                f"EMA got decay={decay} and half_life={half_life}; give one and set the other null"
            )
        if decay is not None and not 0 <= decay < 1:
            raise ValueError(f"EMA decay must lie in [0, 1), got {decay}")
        if half_life is not None:
            check_range("EMA half_life", half_life, 0.0, math.inf)
        self.decay, self.half_life = decay, half_life
        self.updates = 0
        self._images: int | None = None
        self.average: dict[str, Tensor] = {}
        self._optimizer_steps = 0
        self._raw: dict[str, Tensor] | None = None

    def begin(self, module: ImageModule) -> None:
        """Refuse a method of which nothing would be averaged, with a ValueError."""
        if not module.ema_modules:
            raise ValueError(
                f"{type(module).__name__} keeps no average of weights; set callbacks.ema=null"
            )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        assert isinstance(pl_module, ImageModule)
        if pl_module.ema_modules:
            pl_module.evaluation_weights = lambda: self.average_parameters(pl_module)
            pl_module.training_weights = lambda: self.raw_parameters(pl_module)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        current = tracked_tensors(pl_module)
        if self.average:
            self.average = {name: self.average[name].to(t.device) for name, t in current.items()}
        else:
            self.average = {name: tensor.detach().clone() for name, tensor in current.items()}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, ImageModule)
        self._optimizer_steps = pl_module.averaged_steps
        if self._images is None:
            self._images = pl_module.images_seen

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, ImageModule)
        if pl_module.averaged_steps == self._optimizer_steps:
            return  # gradients are still being accumulated, or another network had its turn
        self._optimizer_steps = pl_module.averaged_steps
        self.updates += 1
        decay = self._decay_of_update(pl_module.images_seen)
        lerp_towards(self.average, tracked_tensors(pl_module), 1 - decay)

    def _decay_of_update(self, images: int) -> float:
        """Give what an update keeps of the average, when ``images`` have been seen."""
        since, self._images = self._images or 0, images
        if self.half_life is None:
            assert self.decay is not None
            return min(self.decay, (1 + self.updates) / (10 + self.updates))
        half_life = value_at(self.half_life, since)
        return float(0.5 ** ((images - since) / half_life)) if half_life > 0 else 0.0

    @contextmanager
    def average_parameters(self, module: LightningModule) -> Iterator[None]:
        """Hold the averaged weights in ``module``; the raw ones come back, bit for bit, after."""
        if self._raw is not None or not self.average:
            yield
            return
        current = tracked_tensors(module)
        self._raw = {name: tensor.detach().clone() for name, tensor in current.items()}
        try:
            _copy(self.average, current)
            yield
        finally:
            _copy(self._raw, current)
            self._raw = None

    @contextmanager
    def raw_parameters(self, module: LightningModule) -> Iterator[None]:
        """Hold the raw weights in ``module`` for a while within :meth:`average_parameters`."""
        if self._raw is None:
            yield
            return
        current = tracked_tensors(module)
        # Not the average itself: its buffers may have come from another process.
        held = {name: tensor.detach().clone() for name, tensor in current.items()}
        try:
            _copy(self._raw, current)
            yield
        finally:
            _copy(held, current)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        assert isinstance(pl_module, ImageModule)
        pl_module.leave_evaluation()

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self._raw is not None:
            checkpoint["state_dict"] = {**checkpoint["state_dict"], **self._raw}
        checkpoint["ema"] = {
            "updates": self.updates,
            "images": self._images,
            "weights": dict(self.average),
        }

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        saved = checkpoint.get("ema")
        if saved is None:
            raise ValueError("the checkpoint holds no average; set callbacks.ema=null to resume")
        self.updates, self.average = saved["updates"], dict(saved["weights"])
        self._images = saved.get("images")


def lerp_towards(average: dict[str, Tensor], current: dict[str, Tensor], weight: float) -> None:
    """Move parameters of ``average`` by ``weight`` towards ``current``, in place; copy buffers."""
    # A weight that two layers share has two names: both are averaged.
    averaged = [name for name, t in current.items() if isinstance(t, nn.Parameter)]
    if averaged:
        torch._foreach_lerp_(
            [average[name] for name in averaged],
            [current[name].detach() for name in averaged],
            weight,
        )
    for name in current.keys() - set(averaged):
        average[name].copy_(current[name])


def tracked_tensors(module: LightningModule) -> dict[str, Tensor]:
    """Give parameters and persistent buffers of the modules in ``ema_modules``, by full name."""
    assert isinstance(module, ImageModule)
    found: dict[str, Tensor] = {}
    for name in module.ema_modules:
        part = module.get_submodule(name)
        part.state_dict(destination=found, prefix=f"{name}.", keep_vars=True)
    return found


@torch.no_grad()
def _copy(source: dict[str, Tensor], destination: dict[str, Tensor]) -> None:
    for name, tensor in destination.items():
        tensor.copy_(source[name])
