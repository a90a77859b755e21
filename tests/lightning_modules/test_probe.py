"""A probe learns from features that stay as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from functional.supervised_augment import SupervisedAugment
from lightning_modules.base import ImageModule
from lightning_modules.pretrained import Pretrained
from tests.lightning_modules.tiny import data, ddpm, trainer
from tests.lightning_modules.tiny_mae import images, mae
from tests.lightning_modules.tiny_probe import AUGMENT, fit, probe
from tests.resuming import assert_resuming_is_exact

KEYS = {
    "probe/linear/top1",
    "probe/knn/top1",
    "probe/linear-random/top1",
    "probe/knn-random/top1",
}


class Brightness(ImageModule):
    """Features that tell two classes apart: the mean brightness, and one number of noise."""

    capabilities = frozenset({"features"})
    image_shape = (1, 8, 8)

    def features(self, images: Tensor) -> Tensor:
        return torch.stack([images.mean(dim=(1, 2, 3)), images[:, 0, 0, 0]], dim=1)


def state(module: ImageModule) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def test_a_probe_never_changes_the_encoder(tmp_path: Path) -> None:
    module = probe()
    before = state(module)
    fit(module, tmp_path)
    changed = {
        name for name, tensor in module.state_dict().items() if not tensor.equal(before[name])
    }
    assert changed and all(name.startswith("probes.") for name in changed)
    assert any("encoder." in name for name in before)
    assert not module.encoder.training and module.training


def test_cached_features_equal_live_ones(tmp_path: Path) -> None:
    module = probe()
    _, split = fit(module, tmp_path)
    batch = next(iter(split.train_dataloader()))
    assert module.cached
    for name, model in module.models.items():
        torch.testing.assert_close(
            module.bank("train")[name][batch.indices], model.features(batch.images)
        )
        assert torch.equal(module.bank("train")["labels"][batch.indices], batch.labels)


@pytest.mark.parametrize("flip", [True, False])
def test_what_changes_images_is_not_cached(flip: bool, tmp_path: Path) -> None:
    augment = None if flip else SupervisedAugment(**AUGMENT)
    module = probe(augment=augment, neighbours=0)
    fit(module, tmp_path, steps=2, horizontal_flip=flip)
    assert not module.cached and "train" not in module.banks


def test_the_random_baseline_is_the_same_model_with_other_weights() -> None:
    model = mae()
    module = probe(model)
    assert module.untrained is not None and module.untrained is not model
    torch.testing.assert_close(module.untrained.features(images()), model.features(images()))
    torch.nn.init.normal_(model.network.encoder.blocks[0].attn.qkv.weight)
    assert not torch.equal(module.untrained.features(images()), model.features(images()))
    assert set(probe(random_baseline=False).models) == {"trained"}


def test_a_separable_toy_gets_everything_right(tmp_path: Path) -> None:
    module = probe(Brightness(), learning_rates=[0.1, 1.0])
    split = data()
    for part in ("train", "validation", "test"):
        store: Any = getattr(split.splits, part)
        rows = torch.arange(len(store)) if store._rows is None else store._rows
        store.images[rows] = (
            store.images[rows] // 4 + 150 * store.labels[:, None, None, None].byte()
        )
    made = trainer(tmp_path, [], steps=40)
    made.fit(module, datamodule=split)
    made.test(module, datamodule=split, verbose=False)
    assert module.scores.keys() == KEYS
    assert module.scores["probe/linear/top1"] == module.scores["probe/knn/top1"] == 1.0


def test_the_learning_rate_is_chosen_on_validation_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = probe()
    made, split = fit(module, tmp_path)
    shares = {"validation": [0.5, 0.75], "test": [1.0, 0.25]}
    asked: list[str] = []

    def right(name: str, part: str) -> list[float]:
        asked.append(part)
        return shares[part]

    monkeypatch.setattr(module, "right", right)
    made.test(module, datamodule=split, verbose=False)
    assert module.scores["probe/linear/top1"] == 0.25
    assert asked.count("test") == 2  # once for each of the two models


def test_each_learning_rate_learns_as_it_would_alone(tmp_path: Path) -> None:
    together, alone = probe(learning_rates=[0.1, 0.01]), probe(learning_rates=[0.1])
    for first, other in zip(together.probes.values(), alone.probes.values(), strict=True):
        first.classifiers[0].load_state_dict(other.classifiers[0].state_dict())
    for i, module in enumerate((together, alone)):
        fit(module, tmp_path / str(i))
    for name in ("trained", "random"):
        torch.testing.assert_close(
            together.probes[name].classifiers[0].weight, alone.probes[name].classifiers[0].weight
        )


def test_few_labels_are_the_only_ones_seen(tmp_path: Path) -> None:
    module = probe(labels=16)
    made, split = fit(module, tmp_path)
    assert split.split_size("train") == 16 and len(module.bank("train")["trained"]) == 16
    assert module.bank("train")["labels"].bincount().tolist() == [8, 8]
    made.test(module, datamodule=split, verbose=False)
    assert module.scores.keys() == {f"{key}@16" for key in KEYS}


def test_a_resumed_probe_is_equal_to_the_bit(tmp_path: Path) -> None:
    rows = assert_resuming_is_exact(lambda: probe(labels=24, decay="constant"), tmp_path)
    assert sum("probe/linear/top1@24" in row for row in rows) == 3


def test_a_model_without_features_is_refused() -> None:
    model = ddpm()
    model.capabilities = frozenset({"sample", "chain"})
    with pytest.raises(
        ValueError, match=r"DDPM of runs/some has no features to probe \(it has: chain"
    ):
        probe(model)


def test_what_makes_no_probe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="num_classes=0"):
        probe(num_classes=0)
    with pytest.raises(ValueError, match="give one learning rate"):
        probe(learning_rates=[])
    with pytest.raises(ValueError, match="use best or last|best"):
        Pretrained(mae(), checkpoint="first")
    with pytest.raises(ValueError, match="2 learning rates and no validation images"):
        fit(probe(), tmp_path / "a", validation_size=0)
    with pytest.raises(ValueError, match="neighbours=20 of 16 training images"):
        fit(probe(labels=16, neighbours=20), tmp_path / "c")
    with pytest.raises(ValueError, match="expected 0 to 1"):
        fit(probe(), tmp_path / "b", num_classes=4)
