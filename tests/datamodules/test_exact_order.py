"""A run that is interrupted and resumed sees the batches of one that is not."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from PIL import Image

BATCHES = 5
TOTAL = 15
Seen = list[tuple[int, tuple[int, ...], float]]


class Recorder(LightningModule):
    """Writes down what it is given to train on."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: Seen = []

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        content = batch.images.double().sum().item()
        self.seen.append((batch_idx, tuple(batch.indices.tolist()), content))
        return (self.weight * batch.images.mean()).sum()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


class SaveAlways(Callback):
    """Writes a checkpoint at every moment at which one is usually written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.saved: list[tuple[str, int, Path]] = []

    def save(self, trainer: Trainer, moment: str) -> None:
        done = trainer.fit_loop.epoch_loop.batch_progress.total.processed
        path = self.folder / f"{moment}-{done}.ckpt"
        trainer.save_checkpoint(path)
        self.saved.append((moment, done, path))

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self.save(trainer, "batch")

    def on_validation_end(self, trainer: Trainer, *_: Any) -> None:
        if not trainer.sanity_checking:
            self.save(trainer, "validation")

    def on_train_epoch_end(self, trainer: Trainer, *_: Any) -> None:
        self.save(trainer, "epoch")


def trainer(*callbacks: Callback, **settings: Any) -> Trainer:
    return Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=list(callbacks),
        **settings,
    )


def tiny(make: Any, **changes: Any) -> Any:
    settings = {"batch_size": 8, "image_size": 4, "size": 48, "test_size": 4, "num_classes": 2}
    settings |= {"validation_size": 6, "horizontal_flip": True}
    return make("fake", **settings | changes)


def fit(data: Any, settings: dict[str, Any], folder: Path, start: Path | None = None) -> Any:
    folder.mkdir(exist_ok=True)
    module, saver = Recorder(), SaveAlways(folder)
    trainer(saver, **settings).fit(module, data, ckpt_path=start, weights_only=True)
    return module.seen, saver.saved


RUNS = {
    "by epochs": {"max_epochs": 3},
    "by epochs, no validation": {"max_epochs": 3, "limit_val_batches": 0},
    "by steps, validation in steps": {
        "max_steps": TOTAL,
        "max_epochs": -1,
        "val_check_interval": 4,
        "check_val_every_n_epoch": None,
    },
}


@pytest.mark.parametrize("run", RUNS)
def test_resume_goes_on_with_exactly_the_next_batch(make: Any, tmp_path: Path, run: str) -> None:
    full, saved = fit(tiny(make), RUNS[run], tmp_path / "full")
    assert len(full) == TOTAL
    assert {moment for moment, *_ in saved} >= {"batch", "epoch"}
    for moment, done, path in saved:
        seen, _ = fit(tiny(make), RUNS[run], tmp_path / "resumed", path)
        assert seen == full[done:], f"resumed from {moment} {done}"


@pytest.mark.parametrize("run", ["by epochs", "by steps, validation in steps"])
def test_a_resumed_run_can_be_resumed_again(make: Any, tmp_path: Path, run: str) -> None:
    full, saved = fit(tiny(make), RUNS[run], tmp_path / "full")
    for moment, done, path in saved:
        if done not in (3, BATCHES):
            continue
        _, later = fit(tiny(make), RUNS[run], tmp_path / f"{moment}-{done}", path)
        for name, twice, second in later[::2]:
            seen, _ = fit(tiny(make), RUNS[run], tmp_path / "again", second)
            assert seen == full[twice:], f"resumed from {moment} {done}, then {name} {twice}"


def test_epochs_of_a_trainer_are_the_samplers_epochs(make: Any, tmp_path: Path) -> None:
    full, _ = fit(tiny(make), RUNS["by epochs"], tmp_path / "full")
    sampler = tiny(make).train_dataloader().batch_sampler
    expected = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        expected += [tuple(plan.indices.tolist()) for plan in sampler]
    assert [indices for _, indices, _ in full] == expected


def test_lightning_tells_the_loader_its_epoch(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    monkeypatch.setattr(
        "datamodules.order.GlobalBatchSampler.set_epoch", lambda self, epoch: told.append(epoch)
    )
    trainer(max_epochs=3, limit_train_batches=2).fit(Recorder(), tiny(make))
    assert told == [0, 1, 2]


def test_a_limited_epoch_takes_the_first_batches_of_its_permutation(
    make: Any, tmp_path: Path
) -> None:
    settings = {"max_epochs": 3, "limit_train_batches": 2}
    full, saved = fit(tiny(make), settings, tmp_path / "full")
    unlimited, _ = fit(tiny(make), RUNS["by epochs"], tmp_path / "unlimited")
    assert full == [unlimited[i] for i in (0, 1, 5, 6, 10, 11)]
    seen, _ = fit(tiny(make), settings, tmp_path / "resumed", saved[0][2])
    assert seen == full[1:]


def test_overfitting_repeats_the_same_batches(make: Any) -> None:
    module = Recorder()
    trainer(max_epochs=4, overfit_batches=2).fit(module, tiny(make))
    assert module.seen == module.seen[:2] * 4


def test_state_is_plain_numbers_in_the_checkpoint(make: Any, tmp_path: Path) -> None:
    _, saved = fit(tiny(make), RUNS["by epochs"], tmp_path)
    states = {
        (moment, done): torch.load(path, weights_only=True)["Fake"] for moment, done, path in saved
    }
    assert states["batch", 3] == {"epoch": 0, "batch": 3, "images": 42}
    assert states["batch", 7] == {"epoch": 1, "batch": 2, "images": 42}
    for moment in ("batch", "validation", "epoch"):
        assert states[moment, BATCHES] == {"epoch": 1, "batch": 0, "images": 42}


def test_without_a_trainer_a_loaded_state_moves_the_first_iteration(make: Any) -> None:
    data, resumed = tiny(make), tiny(make)
    loader = data.train_dataloader()
    loader.batch_sampler.set_epoch(2)
    expected = [batch.indices.tolist() for batch in loader]
    resumed.load_state_dict({"epoch": 2, "batch": 3})
    loader = resumed.train_dataloader()
    assert [batch.indices.tolist() for batch in loader] == expected[3:]
    assert [batch.indices.tolist() for batch in loader] == expected


def test_workers_give_the_order_and_the_resume_of_the_main_process(
    make: Any, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for i in range(50):
        Image.new("L", (4, 4), 5 * i).save(images / f"{i}.png")
    settings = {"folder": str(images), "batch_size": 8, "image_size": 4, "channels": 1}
    settings |= {"validation_fraction": 0.1, "horizontal_flip": True}
    streamed = {"in_memory": False, "num_workers": 2}
    run = {"max_epochs": 2}
    held, _ = fit(make("image_folder", **settings), run, tmp_path / "held")
    full, saved = fit(make("image_folder", **settings, **streamed), run, tmp_path / "full")
    assert full == held
    assert not multiprocessing.active_children()
    for moment, done, path in saved:
        if done in (2, BATCHES):
            seen, _ = fit(make("image_folder", **settings, **streamed), run, tmp_path / "r", path)
            assert seen == full[done:], f"resumed from {moment} {done}"


def test_iterating_leaves_the_global_random_state_alone(make: Any, tmp_path: Path) -> None:
    for i in range(4):
        Image.new("L", (4, 4), i).save(tmp_path / f"{i}.png")
    settings = {"batch_size": 1, "image_size": 4, "folder": str(tmp_path), "num_workers": 0}
    streamed = make("image_folder", **settings, in_memory=False)
    for data in (tiny(make), streamed):
        before = torch.get_rng_state()
        for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
            assert list(loader)
        assert list(data.uint8_batches("reference", 2))
        assert torch.equal(before, torch.get_rng_state())
