"""LPIPS: by its definition, and which weights it takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchmetrics.functional.image.lpips as published
import torchvision
from torch import Tensor

from metrics.lpips import PerceptualDistance

LAYERS = {"alexnet": (1, 4, 7, 9, 11), "squeezenet1_1": (1, 4, 7, 9, 10, 11, 12)}


def weights_of(name: str, folder: Path) -> Path:
    torch.manual_seed(0)
    state = torchvision.models.get_model(name, weights=None).state_dict()
    path = folder / f"{name}.pth"
    torch.save({key: value for key, value in state.items() if key.startswith("features")}, path)
    return path


def by_definition(name: str, net: str, weights: Path, a: Tensor, b: Tensor) -> Tensor:
    """Zhang et al. 2018, equation 1: weighted squared differences of unit-length features."""
    network = torchvision.models.get_model(name, weights=None).features
    network.load_state_dict(
        {k.removeprefix("features."): v for k, v in torch.load(weights).items()}
    )
    folder = Path(published.__file__).parent / "lpips_models"
    linear = torch.load(folder / f"{net}.pth", map_location="cpu")
    shift = torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1)
    x, y, total = (a - shift) / scale, (b - shift) / scale, torch.zeros(len(a))
    taken = 0
    with torch.no_grad():
        for place, layer in enumerate(network):
            x, y = layer(x), layer(y)
            if place in LAYERS[name]:
                difference = (unit(x) - unit(y)).square() * linear[f"lin{taken}.model.1.weight"]
                total += difference.sum(dim=1).mean(dim=(1, 2))
                taken += 1
    return total


def unit(features: Tensor) -> Tensor:
    return features / features.square().sum(dim=1, keepdim=True).sqrt().clamp(min=1e-8)


def eight_bit(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape).float() / 127.5 - 1


@pytest.mark.parametrize(("name", "net"), [("alexnet", "alex"), ("squeezenet1_1", "squeeze")])
def test_the_distance_is_that_of_its_definition(name: str, net: str, tmp_path: Path) -> None:
    weights = weights_of(name, tmp_path)
    distance = PerceptualDistance(weights)
    assert distance.name == f"lpips_{net}"
    a, b = eight_bit(2, 3, 64, 64), eight_bit(2, 3, 64, 64)
    expected = by_definition(name, net, weights, a, b)
    torch.testing.assert_close(distance(a, b), expected, rtol=1e-3, atol=1e-6)
    assert distance(a, a).abs().max() == 0 and distance.resize(64) == "none"


def test_small_grey_images_are_enlarged_and_more_noise_is_further(tmp_path: Path) -> None:
    distance = PerceptualDistance(weights_of("alexnet", tmp_path))
    image = eight_bit(3, 1, 28, 28) / 2
    noise = torch.randn(3, 1, 28, 28)
    near, far = (distance(image + level * noise, image) for level in (0.05, 0.4))
    assert near.shape == (3,) and (near > 0).all() and (near < far).all()
    assert distance.resize(28) == "64 bilinear"
    coloured = image.expand(-1, 3, -1, -1)
    assert torch.equal(distance(coloured + 0.1, coloured), distance(image + 0.1, image))


def test_a_file_that_is_not_of_its_networks_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.pth"
    torch.save({"conv1.weight": torch.zeros(1)}, other)
    with pytest.raises(ValueError, match="holds no weights of torchvision's alexnet"):
        PerceptualDistance(other)
    whole = torch.load(weights_of("alexnet", tmp_path))
    torch.save({k: v for k, v in whole.items() if k != "features.0.bias"}, other)
    with pytest.raises(ValueError, match=r"does not fit"):
        PerceptualDistance(other)
    with pytest.raises(FileNotFoundError, match="no weights file"):
        PerceptualDistance(tmp_path / "absent.pth")
