"""Stacked denoising autoencoders: which layer learns, from what, and when."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from callbacks.run_record import read_rows
from datamodules.batch import Batch
from functional.corruption import Gaussian, Masking, SaltAndPepper
from functional.masking import BatchNoise
from lightning_modules.sdae import SDAE
from networks.stacked_autoencoder import StackedAutoencoder
from tests.lightning_modules.tiny import SIZE, data
from tests.lightning_modules.tiny_sdae import BATCH, LAYERS, fit, sdae, stack

IMAGES = torch.rand(6, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1


class StopAfter(Callback):
    """Ends a run before its budget, as a signal does."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        trainer.should_stop = pl_module.steps == self.steps


def state(module: SDAE) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.network.state_dict().items()}


def changed(module: SDAE, before: dict[str, Tensor]) -> set[str]:
    return {n for n, value in module.network.state_dict().items() if not value.equal(before[n])}


@pytest.mark.parametrize("tied", [True, False])
def test_each_phase_changes_its_own_layer_alone_and_the_last_everything(
    tied: bool, tmp_path: Path
) -> None:
    for layer in range(LAYERS):
        module = sdae(network=stack(tied=tied))
        if layer:
            fit(module, tmp_path / str(layer), steps=2 * layer)
        before = state(module)
        last = tmp_path / str(layer) / "checkpoints" / "last.ckpt" if layer else None
        fit(module, tmp_path / str(layer), steps=2 * layer + 2, resume=last)
        own = {f"encoders.{layer}.weight", f"encoders.{layer}.bias"}
        decoder = [f"decoders.{layer}.weight", f"decoders.{layer}.bias"]
        assert changed(module, before) == own | set([f"biases.{layer}"] if tied else decoder)
    before = state(module)
    fit(module, tmp_path / "2", steps=8, resume=tmp_path / "2" / "checkpoints" / "last.ckpt")
    encoders = {name for name in before if name.startswith(("encoders", "head"))}
    assert changed(module, before) == encoders


def test_a_layer_gets_the_clean_code_of_the_layers_below_and_corrupts_that() -> None:
    """The code is computed here from the weights, one affine map and sigmoid after the other."""
    module = sdae(corruption=SaltAndPepper(0.4))
    code = (IMAGES.flatten(1) + 1) / 2
    for layer in range(2):
        encoder: Any = module.network.encoders[layer]
        code = torch.sigmoid(code @ encoder.weight.T + encoder.bias)
    clean, shown, _ = module.corrupted(2, IMAGES, BatchNoise(6, "cpu"))
    torch.testing.assert_close((clean.flatten(1) + 1) / 2, code)
    touched = shown != clean
    assert (touched.flatten(1).sum(dim=1) == 4).all()
    assert set(((shown[touched] + 1) / 2).tolist()) == {0.0, 1.0}


def test_the_target_is_clean_and_no_gradient_reaches_the_layers_below() -> None:
    module = sdae(corruption=Masking(0.5))
    noise = torch.randn(6, 12, generator=torch.Generator().manual_seed(1))
    module.layer_losses(1, IMAGES, lambda *shape: noise.view(6, *shape)).sum().backward()
    grads = {n for n, p in module.network.named_parameters() if p.grad is not None}
    assert grads == {"encoders.1.weight", "encoders.1.bias", "biases.1"}
    clean = module.network.encode(0, IMAGES)
    code = torch.where(noise.argsort(1).argsort(1) < 6, clean, 0.0)
    encoder: Any = module.network.encoders[1]
    hidden = torch.sigmoid(code @ encoder.weight.T + encoder.bias)
    logits = hidden @ encoder.weight + module.network.biases[1]
    expected = F.binary_cross_entropy_with_logits(logits, clean, reduction="none").sum(dim=1)
    found = module.layer_losses(1, IMAGES, lambda *shape: noise.view(6, *shape))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("nothing", [Masking(0.0), Gaussian(0.0), SaltAndPepper(0.0)])
def test_a_corruption_of_strength_0_is_a_plain_autoencoder(nothing: Any) -> None:
    module = sdae(corruption=nothing)
    clean, shown, _ = module.corrupted(1, IMAGES, BatchNoise(6, "cpu"))
    assert torch.equal(clean, shown)


@pytest.mark.parametrize("labels", [None, 10])
def test_a_resumed_run_equals_one_never_interrupted_to_the_bit(
    labels: int | None, tmp_path: Path
) -> None:
    def weights(folder: str, stop: int | None = None, resume: bool = False) -> Tensor:
        module, last = sdae(labels=labels), tmp_path / folder / "checkpoints" / "last.ckpt"
        halts = [] if stop is None else [StopAfter(stop)]
        fit(module, tmp_path / folder, 10, last if resume else None, halts)
        return torch.cat([p.detach().flatten() for p in module.parameters()])

    whole = weights("whole")
    # In the middle of a phase, where two phases meet, and among the labels.
    for stop in (3, 6, 8):
        assert not torch.equal(weights(str(stop), stop), whole)
        assert torch.equal(weights(str(stop), resume=True), whole)


def test_fine_tuning_begins_with_a_fresh_optimiser_and_its_own_rate(tmp_path: Path) -> None:
    module = sdae(decay="constant", pretrain_lr=0.0)
    before = state(module)
    fit(module, tmp_path / "still", steps=6)
    assert not changed(module, before)
    made = fit(sdae(decay="constant", pretrain_lr=0.0), tmp_path / "one", steps=7)
    assert {s["step"].item() for s in made.optimizers[0].state.values()} == {1.0}
    assert made.optimizers[0].param_groups[0]["lr"] == 0.02


def test_few_labels_are_learnt_from_those_images_alone_each_as_often(tmp_path: Path) -> None:
    module = sdae(labels=10, pretrain_images=0)
    seen: list[Batch] = []
    learn = module.lesson
    module.lesson = lambda batch: seen.append(learn(batch)) or seen[-1]  # type: ignore[assignment, func-returns-value]
    source = data()
    fit(module, tmp_path, steps=5)
    indices = torch.cat([batch.indices for batch in seen])
    counts = indices.bincount()
    assert sorted(counts[counts > 0].tolist()) == [4] * 10
    assert torch.equal(indices.unique(), module.labelled)
    labels = source.splits.train.labels
    assert labels[indices.unique()].bincount().tolist() == [5, 5]
    for batch in seen:
        assert torch.equal(batch.labels, labels[batch.indices])


def test_rows_say_what_each_phase_learns_and_the_error_once_labels_are_learnt(
    tmp_path: Path,
) -> None:
    module = sdae()
    made = fit(module, tmp_path, steps=12)
    made.test(module, datamodule=data(), verbose=False)
    rows = read_rows(tmp_path / "metrics.jsonl")
    names = [key for row in rows for key in row if key.startswith("train/reconstruction")]
    assert names == [f"train/reconstruction_{k}" for k in (1, 1, 2, 2, 3, 3)]
    validations = [row for row in rows if any(key.startswith("val/") for key in row)]
    assert [sum("val/recon" in key for key in row) for row in validations] == [2, 3, 3, 3]
    assert ["val/error" in row for row in validations] == [False, True, True, True]
    assert (tmp_path / "checkpoints" / "best.ckpt").is_file()
    end = {key: value for row in rows for key, value in row.items()}
    assert end["probe/finetune/top1"] == pytest.approx(1 - end["test/error"] / 100, abs=1e-6)


def test_it_learns_to_denoise_and_to_tell_classes_apart(tmp_path: Path) -> None:
    network = stack(activation="relu", widths=[32, 32, 32])
    rates = {"pretrain_lr": 0.03, "optimizer": partial(torch.optim.Adam, lr=0.01)}
    module = sdae(network=network, loss="mse", pretrain_images=25 * BATCH, **rates)
    fit(module, tmp_path, steps=95)
    rows = read_rows(tmp_path / "metrics.jsonl")
    first = [row["val/reconstruction_1"] for row in rows if "val/reconstruction_1" in row]
    assert min(first) < 0.6 * first[0]
    assert [row["val/error"] for row in rows if "val/error" in row][-1] <= 15


def test_features_and_previews_are_of_clean_images(tmp_path: Path) -> None:
    module = sdae().eval()
    assert module.features(IMAGES).shape == (6, 9)
    shown = module.previews(Batch(IMAGES, torch.zeros(6), torch.arange(6)))
    assert shown["filters"].shape == (12, 1, SIZE, SIZE)
    assert shown["filters"].abs().amax(dim=(1, 2, 3)).tolist() == [1.0] * 12
    assert torch.equal(shown["restored"][:, 0], IMAGES)
    again = module.previews(Batch(IMAGES, torch.zeros(6), torch.zeros(6)))
    assert torch.equal(shown["restored"], again["restored"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": stack(activation="relu")}, "codes of relu units leave"),
        ({"corruption": Masking(0.5, patch=2)}, "2"),
        ({"loss": "logistic"}, "loss=logistic needs two outputs"),
        ({"loss": "huber"}, "unknown loss 'huber'"),
        ({"pretrain_images": -1}, "pretrain_images=-1"),
        ({"decay": "steps"}, "unknown learning-rate decay 'steps'"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sdae(**changes)


def test_data_without_labels_is_refused_before_training() -> None:
    with pytest.raises(ValueError, match="2 classes apart, but fake has 0; use labelled data"):
        sdae().check_data(data(num_classes=0), 1)
    with pytest.raises(ValueError, match="num_classes=0: fine-tuning needs labels"):
        stack(num_classes=0)


@pytest.mark.parametrize(
    ("activation", "name", "bound"),
    [
        ("sigmoid", None, 1 / 8),
        ("sigmoid", "glorot", 4 * (6 / 94) ** 0.5),
        ("tanh", "glorot", (6 / 94) ** 0.5),
        ("relu", None, (6 / 64) ** 0.5),
    ],
)
def test_weights_begin_within_the_bound_that_their_paper_states(
    activation: str, name: str | None, bound: float
) -> None:
    network = StackedAutoencoder(1, 8, [30], activation, True, 2, name)
    largest = float(network.encoders[0].weight.abs().max())
    assert 0.97 * bound < largest <= bound
    with pytest.raises(ValueError, match="vincent"):
        StackedAutoencoder(1, 8, [30], activation, True, 2, "xavier")
