from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from metrics.extractors import FMNIST_CNN_WEIGHTS, build_extractor
from metrics.remembered import Remembered


def test_features_are_those_of_the_pixels_and_the_weights(tmp_path: Path) -> None:
    images = torch.arange(4 * 28 * 28).reshape(4, 1, 28, 28).remainder(251).to(torch.uint8)
    first = Remembered(build_extractor("fmnist_cnn"), tmp_path)
    wanted = first(images).features
    again = Remembered(build_extractor("fmnist_cnn"), tmp_path)
    assert torch.equal(again(images).features, wanted) and again.computed == 0
    state = load_file(FMNIST_CNN_WEIGHTS)
    state["classifier.bias"] += 1
    (tmp_path / "other").mkdir()
    save_file(state, tmp_path / "other" / "x.safetensors")
    other = Remembered(
        build_extractor("fmnist_cnn", str(tmp_path / "other" / "x.safetensors")), tmp_path
    )
    other(images)
    again(images + 1)
    assert other.computed == again.computed == 1
    for path in tmp_path.glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:50])
    assert torch.equal(again(images).features, wanted) and again.computed == 2
