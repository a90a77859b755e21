from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from lightning import Trainer
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import DataLoader

from datamodules.base import Batch
from lightning_modules.classifier import Classifier, shifted
from networks.cnn_features import CNNFeatures


def classifier(shift: int = 1) -> Classifier:
    torch.manual_seed(0)
    return Classifier(
        CNNFeatures(num_classes=2, width=4, dim=8),
        partial(torch.optim.SGD, lr=0.1, momentum=0.9),
        shift=shift,
        warmup_steps=0,
        decay="constant",
        channels=1,
        image_size=8,
    )


def batches(n: int) -> DataLoader[Batch]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (n, 16), generator=generator)
    noise = 0.3 * torch.randn(n, 16, 1, 8, 8, generator=generator)
    images = noise + (labels - 0.5)[..., None, None, None]
    made = [Batch(x, y, torch.arange(16)) for x, y in zip(images, labels, strict=True)]
    return DataLoader(made, batch_size=None)  # type: ignore[arg-type]


def trainer(folder: Path, steps: int) -> Trainer:
    return Trainer(
        default_root_dir=folder,
        max_steps=steps,
        max_epochs=-1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def test_it_learns_and_writes_its_weights_when_the_budget_is_used(tmp_path: Path) -> None:
    module = classifier()
    module.progress = 1.0
    run = trainer(tmp_path, 30)
    run.fit(module, batches(30))
    accuracy = run.test(module, batches(4), verbose=False)[0]["test/accuracy"]
    assert accuracy > 0.95
    written = load_file(tmp_path / "features.safetensors")
    assert torch.equal(
        written["classifier.weight"], module.network.classifier.weight.detach().half()
    )


def test_a_run_that_was_cut_short_writes_no_weights(tmp_path: Path) -> None:
    module = classifier()
    module.progress = 0.5
    trainer(tmp_path, 2).fit(module, batches(2))
    assert not (tmp_path / "features.safetensors").exists()


def test_each_image_is_moved_by_its_own_whole_pixels_on_black() -> None:
    torch.manual_seed(0)
    images = torch.rand(300, 2, 6, 5)
    found = set()
    for image, moved in zip(images, shifted(images, 1), strict=True):
        padded = pad(image, (1,) * 4, value=-1.0)
        places = [
            (i, j)
            for i in range(3)
            for j in range(3)
            if torch.equal(padded[:, i : i + 6, j : j + 5], moved)
        ]
        assert len(places) == 1
        found.add(places[0])
    assert len(found) == 9
    assert torch.equal(shifted(images, 0), images)


def test_counting_operations_leaves_the_mode_alone() -> None:
    module = classifier().train()
    expected = 2 * 9 * (64 * 4 + 16 * (4 * 8 + 2 * 8 * 8) + 4 * (8 * 8 + 2 * 8 * 8)) + 2 * 8 * 2
    assert module.forward_flops() == expected
    assert all(layer.training for layer in module.network.modules())


def test_features_are_those_of_the_network() -> None:
    module = classifier().eval()
    images = torch.rand(3, 1, 8, 8)
    features: Tensor = module.features(images)
    assert torch.equal(features, module.network(images)[0])
    assert not features.requires_grad


def test_a_shift_beyond_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match="shift=8 must be in 0"):
        classifier(shift=8)
