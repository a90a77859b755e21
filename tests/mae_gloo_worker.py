"""One of two processes that train and score: ``python -m tests.mae_gloo_worker RANK FOLDER``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback

from callbacks.checkpoints import Checkpoints
from callbacks.restoration_metrics import RestorationTracker
from lightning_modules.base import ImageModule
from tests.gan_gloo_worker import digest, two_processes
from tests.gloo import work
from tests.lightning_modules.tiny import data, trainer
from tests.lightning_modules.tiny_mae import mae
from tests.lightning_modules.tiny_probe import finetune, probe

METHODS: dict[str, Callable[[], ImageModule]] = {
    "mae": lambda: mae().train(),
    "probe": lambda: probe(labels=24),
    "finetune": lambda: finetune(labels=24),
}
# An odd number of test images: the processes have unequal shares.
TEST_SIZE = 15


def trackers(folder: Path) -> list[Callback]:
    """Give what scores restored images, where a method restores."""
    return [RestorationTracker(None, None, None, None, 4, TEST_SIZE, 1, 3, str(folder / "cache"))]


def scores(module: ImageModule, made: Any) -> dict[str, float]:
    """Give all that a test measures."""
    source = data(test_size=TEST_SIZE)
    (found,) = made.test(module, datamodule=source, verbose=False) or [{}]
    return {**found, **module.scores}


def train(name: str, folder: Path) -> dict[str, Any]:
    """Train a method in both processes; give digests of weights and masks, and scores."""
    module, masks = METHODS[name](), []
    network: Any = getattr(module, "network", None)
    if network is not None:
        network.register_forward_pre_hook(
            lambda network, given: masks.append(digest(given[1:])) if network.training else None
        )
    before = digest(module.parameters())
    made = two_processes(folder, [*trackers(folder), Checkpoints(None, 60)], steps=4)
    made.fit(module, datamodule=data(test_size=TEST_SIZE))
    after, last = digest(module.parameters()), module.scores
    seen = {"before": before, "after": after, "masks": masks, "validation": last}
    return {**seen, "scores": scores(module, made)}


def alone(name: str, folder: Path, state: dict[str, Any]) -> dict[str, float]:
    """Give what one process measures of the weights ``state``."""
    module = METHODS[name]()
    module.load_state_dict(state)
    return scores(module, trainer(folder, trackers(folder)))


def see(folder: Path) -> dict[str, Any]:
    """Give what this rank saw of every method."""
    return {name: train(name, folder / name) for name in METHODS}


if __name__ == "__main__":
    work(see)
