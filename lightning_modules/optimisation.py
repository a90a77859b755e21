"""What methods with one optimiser share in ``configure_optimizers``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from lightning_modules.base import ImageModule


def batch_factor(module: ImageModule, base_batch: int | None) -> float:
    """Give images per optimiser step over ``base_batch``, the number a learning rate is meant for.

    Those of all processes and accumulated batches count (the linear scaling rule, Goyal et al.
    2017). It is 1 where ``base_batch`` is None.
    """
    data: Any = module.trainer.datamodule  # type: ignore[attr-defined]
    images: int = data.batch_size * module.trainer.accumulate_grad_batches
    return images / base_batch if base_batch else 1.0


def scheduled(optimizer: Optimizer, factor: Callable[[int], float]) -> Any:
    """Give for Lightning ``optimizer`` and its learning rates' ``factor`` of each step."""
    scheduler = LambdaLR(optimizer, factor)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
