from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor

from metrics.reference import ReferenceStatistics, reference_statistics
from tests.metrics.stand_ins import Projection, draw

MINI = Path(__file__).parents[2] / "datamodules" / "assets" / "fashion_mnist_mini.npz"


@pytest.fixture
def projection() -> Projection:
    return Projection()


@pytest.fixture
def reference(projection: Projection) -> ReferenceStatistics:
    return reference_statistics(projection, draw(600, 1).split(100), "data", None)


@pytest.fixture(scope="session")
def fashion() -> Callable[[str], Tensor]:
    """Real images of the shipped subset: uint8 ``(N, 1, 28, 28)`` of "train" or "test"."""
    with np.load(MINI) as data:
        images = {
            split: torch.from_numpy(data[f"{split}_images"])[:, None] for split in ("train", "test")
        }
    return images.__getitem__


@pytest.fixture(scope="session")
def fashion_test_labels() -> Tensor:
    with np.load(MINI) as data:
        return torch.from_numpy(data["test_labels"])


@pytest.fixture(scope="session")
def inception_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kaiming weights: torch's default initialisation collapses all images to one feature."""
    fidelity = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    network_type = fidelity.FeatureExtractorInceptionV3
    with (
        mock.patch.object(fidelity, "load_state_dict_from_url", return_value={}),
        mock.patch.object(network_type, "load_state_dict"),
    ):
        network = network_type("random", ["2048"])
    generator = torch.Generator().manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            torch.nn.init.kaiming_normal_(layer.weight, generator=generator)
    path = tmp_path_factory.mktemp("inception") / "random.pth"
    torch.save(network.state_dict(), path)
    return path
