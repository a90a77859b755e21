"""An exponential moving average of the weights, kept beside them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from lightning_modules.base import ImageModule


class EMA(Callback):
    """Averages the sub-modules that the method names in ``ema_modules``.

    The decay of update n is min(decay, (1 + n) / (10 + n)), so that the random initialisation is
    forgotten at once. Floating-point parameters are averaged, buffers are copied. The average is
    what validation, sampling, FID and ``best.ckpt`` use; raw weights stay in ``state_dict``, the
    average lies beside them in the checkpoint under ``ema``.

    Args:
        decay: in [0, 1); 0.9999 in Ho et al. (2020) for 800,000 steps.
    """

    def __init__(self, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"EMA decay must lie in [0, 1), got {decay}")
        self.decay = decay
        self.updates = 0
        self.average: dict[str, Tensor] = {}
        self._optimizer_steps = 0
        self._raw: dict[str, Tensor] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        assert isinstance(pl_module, ImageModule)
        if pl_module.ema_modules:
            pl_module.evaluation_weights = lambda: self.average_parameters(pl_module)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        current = tracked_tensors(pl_module)
        if self.average:
            self.average = {name: self.average[name].to(t.device) for name, t in current.items()}
        else:
            self.average = {name: tensor.detach().clone() for name, tensor in current.items()}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, ImageModule)
        self._optimizer_steps = pl_module.averaged_steps

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, ImageModule)
        if pl_module.averaged_steps == self._optimizer_steps:
            return  # gradients are still being accumulated, or another network had its turn
        self._optimizer_steps = pl_module.averaged_steps
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        current = tracked_tensors(pl_module)
        # A weight that two layers share has two names: both are averaged.
        parameters = {n for n, _ in pl_module.named_parameters(remove_duplicate=False)}
        averaged = [name for name in current if name in parameters]
        if averaged:
            torch._foreach_lerp_(
                [self.average[name] for name in averaged],
                [current[name].detach() for name in averaged],
                1 - decay,
            )
        for name in current.keys() - parameters:
            self.average[name].copy_(current[name])

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
        checkpoint["ema"] = {"updates": self.updates, "weights": dict(self.average)}

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        saved = checkpoint.get("ema")
        if saved is None:
            raise ValueError("the checkpoint holds no average; set callbacks.ema=null to resume")
        self.updates, self.average = saved["updates"], dict(saved["weights"])


def tracked_tensors(module: LightningModule) -> dict[str, Tensor]:
    """Give parameters and persistent buffers of the modules in ``ema_modules``, by full name."""
    assert isinstance(module, ImageModule)
    prefixes = tuple(f"{name}." for name in module.ema_modules)
    state = module.state_dict(keep_vars=True)
    return {name: tensor for name, tensor in state.items() if name.startswith(prefixes)}


@torch.no_grad()
def _copy(source: dict[str, Tensor], destination: dict[str, Tensor]) -> None:
    for name, tensor in destination.items():
        tensor.copy_(source[name])
