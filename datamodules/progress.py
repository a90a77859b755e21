"""Where training stands in the data, read from the Trainer's own counters."""

from __future__ import annotations

from typing import Any, Protocol

from lightning import Trainer

Position = tuple[int, int]
"""Epoch, and the number of its batches that are done."""


class Resumable(Protocol):
    """What a training loader asks to go on where a run stopped."""

    def next_position(self) -> Position | None:
        """Where the next iteration begins; None leaves that to the sampler."""

    def state_dict(self) -> dict[str, int]:
        """The position as plain numbers."""

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Sets the position."""


def done(trainer: Trainer) -> Position | None:
    """What a checkpoint that is written now has behind it; None before any training."""
    per_epoch = trainer.num_training_batches
    if not 0 < per_epoch < float("inf"):
        return None
    total: Any = trainer.fit_loop.epoch_loop.batch_progress.total
    # In `on_train_batch_end` the step is done, but Lightning counts it after the hook.
    steps: int = max(total.completed, total.processed)
    return divmod(steps, int(per_epoch))


def upcoming(trainer: Trainer) -> Position | None:
    """The batch that a training loop which begins to iterate now must get; None: nothing is left.

    Counted over all epochs, because Lightning's epoch counter is not exact after every resume. To
    be asked when the first batch is fetched: before that, the loop has not yet put its counters
    right.
    """
    per_epoch = int(trainer.num_training_batches)
    progress = trainer.fit_loop.epoch_loop.batch_progress
    if progress.current.completed >= per_epoch:
        # Resumed at the end of an epoch, Lightning may enter that epoch once more.
        return None
    _count_running_epoch(trainer)
    epoch, batch = divmod(progress.total.completed, per_epoch)
    overfit: Any = trainer
    return (0 if overfit.overfit_batches else epoch), batch


def _count_running_epoch(trainer: Trainer) -> None:
    """Counts the epoch that runs as started.

    Lightning 2.6 leaves that out after a resume from a checkpoint which was written in
    `on_train_batch_end` of an epoch's last batch; the checkpoints of the resumed run would then be
    taken for finished epochs, and resumed one batch too early.
    """
    epochs = trainer.fit_loop.epoch_progress
    for count in (epochs.total, epochs.current):
        counter: Any = count
        if counter.ready == counter.processed == counter.completed:
            counter.ready = counter.started = counter.processed + 1
