"""The contract between methods and everything around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch
import torch.distributed
from lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer
from torch.utils.flop_counter import FlopCounterMode

from datamodules.base import Batch, ImageDataModule
from functional.learning_rate import learning_rate_factor
from functional.model_likelihood import ModelLikelihood
from functional.process import Process
from functional.seeding import derive_seed, seed_devices

CAPABILITIES = (
    "sample", "restore", "vary", "interpolate", "features", "chain", "process", "likelihood",
    "score",
)  # fmt: skip


class ImageModule(LightningModule):
    """A method on images: float32 ``(N, C, H, W)`` in [-1, 1] in and out.

    A method overrides what it can do and lists it in ``capabilities``; callbacks and commands skip
    the rest and never make a number up for it.

    Attributes:
        capabilities: the names among ``CAPABILITIES`` that the method provides.
        ema_modules: names of the sub-modules of which an average of weights is kept.
        image_shape: (C, H, W) of the images.
        images_seen: training images seen by all processes; the axis of every chart.
        steps: training batches done (``trainer.global_step`` counts every optimiser's steps).
        progress: share of the training budget used, in [0, 1]; set by the budget callback.
        gradient_norm: of the step that is about to be taken, where a callback measured it.
        scores: what the last validation measured, by key, e.g. ``gen/fid/fmnist_cnn@2k``.
        autocast_dtype: of the run's mixed precision, or None; set when the module is built.
        chunk_size: images made at once; work is cut at multiples of it whatever the number of
            processes, so that the same seeds give the same bytes.
        restoring: how the method restores, where it has settings of that.
        watcher: told (step, state, images) of images in the making by methods with a "chain".
    """

    capabilities: frozenset[str] = frozenset()
    ema_modules: tuple[str, ...] = ()
    image_shape: tuple[int, int, int]
    chunk_size: int = 250
    restoring: Any = None
    watcher: Callable[[int, Tensor, Tensor], None] | None = None

    def __init__(self) -> None:
        super().__init__()
        self.images_seen = 0
        self.steps = 0
        self.progress = 0.0
        self.autocast_dtype: torch.dtype | None = None
        self.gradient_norm: Tensor | None = None
        self.scores: dict[str, float] = {}
        self.evaluation_weights: Any = None
        self.training_weights: Any = None
        self._evaluation = ExitStack()

    # What a method provides

    def sample(self, n: int, *, seeds: Sequence[int], labels: Tensor | None = None) -> Tensor:
        """Give ``n`` images from noise (and labels) alone; image i depends on ``seeds[i]`` only."""
        raise NotImplementedError(f"{type(self).__name__} cannot sample")

    def lacking(self, capability: str) -> str:
        """Give why the method has not a capability, and what to do, for messages."""
        doing = {"sample": "sample from noise"}.get(capability, capability)
        return f"{type(self).__name__} cannot {doing}; choose another method"

    def restore(self, corrupted: Tensor, operator: Any, *, seeds: Sequence[int]) -> Tensor:
        """Give restored images; ``operator`` says what was done to ``corrupted``."""
        raise NotImplementedError(f"{type(self).__name__} cannot restore")

    def vary(
        self, images: Tensor, strength: float, *, seeds: Sequence[int], labels: Tensor | None = None
    ) -> Tensor:
        """Give images kin to ``images``, those themselves at ``strength`` 0 and new ones at 1."""
        raise NotImplementedError(f"{type(self).__name__} cannot vary images")

    def interpolate(
        self, ends: Sequence[int] | Tensor, weights: Sequence[float], label: int | None = None
    ) -> Tensor:
        """Give ``(K - 1, P, C, H, W)``, P images from each of K seeds or images to the next."""
        raise NotImplementedError(f"{type(self).__name__} cannot interpolate")

    def features(self, images: Tensor) -> Tensor:
        """Give representations ``(N, D)`` of ``images`` for probes."""
        raise NotImplementedError(f"{type(self).__name__} has no features")

    def process(
        self, images: Tensor, field: Tensor, *, seeds: Sequence[int], frames: int
    ) -> Process:
        """Give ``images`` becoming noise, noise becoming samples, and the drift at ``field``."""
        raise NotImplementedError(f"{type(self).__name__} has no process from noise to images")

    def score(self, noisy: Tensor, level: Tensor) -> Tensor:
        """Give the gradient of the log-density at ``noisy`` ``(N, C, H, W)``, whose Gaussian
        noise has ``level`` ``(N,)`` as standard deviation for images in [0, 1]."""
        raise NotImplementedError(f"{type(self).__name__} gives images no score")

    def likelihood(self) -> ModelLikelihood:
        """Give what measures bits per dimension of images under the method."""
        raise NotImplementedError(f"{type(self).__name__} gives images no likelihood")

    def previews(self, batch: Batch) -> dict[str, Tensor]:
        """Give what a person wants to see, by name: images, or rows ``(N, K, C, H, W)``."""
        return {}

    def sampling_record(self) -> dict[str, Any]:
        """Give how :meth:`sample` works, for the protocol record: sampler, spacing, NFE, eta."""
        return {}

    def varying_record(self, strength: float) -> dict[str, Any]:
        """Give how :meth:`vary` works at a strength, in the fields of :meth:`sampling_record`."""
        return self.sampling_record()

    def interpolating_record(self) -> dict[str, Any]:
        """Give how :meth:`interpolate` draws an image, in the fields of :meth:`sampling_record`."""
        return self.sampling_record()

    def forward_flops(self) -> int | None:
        """Give the floating-point operations of one forward pass on one image, where known."""
        return None

    @staticmethod
    def count_flops(network: nn.Module, image_shape: tuple[int, ...], *inputs: Tensor) -> int:
        """Count the operations of ``network``, compiled or not, on one image and ``inputs``.

        In evaluation mode, so that batch norm takes one image, and takes no notice of it.
        """
        parameter = next(network.parameters())
        image = torch.zeros(1, *image_shape, device=parameter.device)
        # Compiled code hides its operations, and one image would be a shape more to compile for.
        eager = torch.compiler.set_stance("force_eager")
        modes = [(module, module.training) for module in network.modules()]
        network.eval()
        with eager, torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(image, *(extra.to(parameter.device) for extra in inputs))
        for module, training in modes:
            module.training = training
        return int(counter.get_total_flops())

    def autocast(self) -> AbstractContextManager[Any]:
        """Give the autocast context of the run's precision, for work outside Lightning's steps."""
        dtype = self.autocast_dtype
        return torch.autocast(self.device.type, dtype=dtype) if dtype else ExitStack()

    # Counting, for every method alike

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Count the batch and make its randomness a function of (seed, step, rank)."""
        self.images_seen += batch.images.shape[0] * self.trainer.world_size
        self.steps += 1
        seed_devices(derive_seed(self.run_seed, self.steps, self.global_rank), self.device)
        # Lightning repeats in a row what earlier batches of the epoch logged, of which a run that
        # was resumed among them knows nothing.
        for result in (getattr(self.trainer, "_results", None) or {}).values():
            result.has_reset = True

    @property
    def run_seed(self) -> int:
        """The seed of the run, as the data module holds it."""
        return int(getattr(getattr(self.trainer, "datamodule", None), "seed", 0))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["counters"] = {"images_seen": self.images_seen, "steps": self.steps}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        counters = checkpoint["counters"]
        self.images_seen, self.steps = counters["images_seen"], counters["steps"]

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Score a batch of the validation split; nothing by default, callbacks measure samples."""

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Score a batch of the test split; nothing by default, callbacks measure samples."""

    def log(self, name: str, value: Any, *arguments: Any, **settings: Any) -> None:
        """Log as Lightning does; in training, at the steps alone of which a row is written:
        Lightning takes the others in as well, at a good part of a millisecond for each value."""
        trainer = self._trainer
        if trainer is not None and getattr(trainer, "training", False):
            every = trainer.log_every_n_steps  # type: ignore[attr-defined]
            if not every or self.steps % every:
                return
        if trainer is not None and settings.get("sync_dist") and settings.get("batch_size"):
            # Over processes Lightning averages the counts of images as integers, rounded down.
            settings["batch_size"] *= trainer.world_size
        super().log(name, value, *arguments, **settings)

    def report(self, name: str, value: float) -> None:
        """Log a score of this validation or test, and keep it in ``scores``."""
        self.scores[name] = value
        self.log(name, value, rank_zero_only=True, add_dataloader_idx=False)

    def begin(self) -> None:
        """Load what a new run begins with; called before it has a folder, not on a resume."""

    # What callbacks and the Trainer must know of a method with several optimisers

    @property
    def averaged_steps(self) -> int:
        """Optimiser steps that moved the modules of ``ema_modules``."""
        return self.trainer.global_step

    def optimizer_label(self, optimizer: Optimizer) -> str:
        """Give what sets the charts of ``optimizer`` apart from those of the method's others."""
        return ""

    def check_trainer(self, trainer: Trainer) -> None:
        """Refuse settings of the Trainer that the method cannot honour, with a ValueError."""

    def check_data(self, data: ImageDataModule, processes: int) -> None:
        """Refuse data that the method cannot learn from on so many processes (ValueError)."""

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by global norm, with the norm that the guards measured a moment before.

        Lightning refuses to clip for fused optimisers; without a gradient scaler nothing is wrong
        with it.
        """
        scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        if scaled or gradient_clip_val is None or gradient_clip_algorithm == "value":
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm, self.gradient_norm = self.gradient_norm, None
        if norm is None:
            norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
        clip_grads_with_norm_(parameters, gradient_clip_val, norm)

    def learning_rate_lambda(self, warmup_steps: int, decay: str) -> Any:
        """Give the factor for ``LambdaLR``: warm-up in optimiser steps, decay over the budget."""
        learning_rate_factor(0, warmup_steps, 0.0, decay)
        return lambda step: learning_rate_factor(step, warmup_steps, self.progress, decay)

    # Evaluation sees the averaged weights whatever the order of callbacks, alike on all processes

    def averaged(self) -> AbstractContextManager[Any]:
        """Give a context in which the weights are the averaged ones, where an average is kept."""
        return self.evaluation_weights() if self.evaluation_weights else ExitStack()

    def raw(self) -> AbstractContextManager[Any]:
        """Give a context, for use in an evaluation, in which the weights are the raw ones."""
        return self.training_weights() if self.training_weights else ExitStack()

    def on_validation_model_eval(self) -> None:
        self._enter_evaluation()
        super().on_validation_model_eval()

    def _enter_evaluation(self) -> None:
        self.scores = {}
        for module in self.modules():
            # What a method keeps in evaluation mode while it trains stays so after.
            self._evaluation.callback(setattr, module, "training", module.training)
        share_buffers(self)
        self._evaluation.enter_context(self.averaged())
        share_buffers(self)

    def leave_evaluation(self) -> None:
        """Put the raw weights back where an evaluation was cut short."""
        self._evaluation.close()

    def on_validation_model_train(self) -> None:
        self._evaluation.close()

    def on_test_model_eval(self) -> None:
        self._enter_evaluation()
        super().on_test_model_eval()

    def on_test_model_train(self) -> None:
        self._evaluation.close()


def share_buffers(module: nn.Module) -> None:
    """Give every process of a distributed job rank 0's buffers of ``module``.

    Parameters agree by themselves; batch norm's statistics are of each process's own batches, so
    processes that share the work of an evaluation would make images of different models.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        for buffer in module.buffers():
            torch.distributed.broadcast(buffer, src=0)
