from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from networks.vit_encoder import initialise, sincos_positions
from tests.networks.tiny_mae import images, network


def rebuilt(global_pool: str, folder: Path, **changes: Any) -> tuple[Any, Any]:
    """The network, and timm's own model with the weights that it exports."""
    made = network(**changes)
    save_file(made.encoder_state(global_pool), folder / "encoder.safetensors")
    theirs = timm.create_model(
        made.model, num_classes=0, global_pool=global_pool, **made.timm_arguments
    )
    theirs.load_state_dict(load_file(folder / "encoder.safetensors"), strict=True)
    return made, theirs.eval()


@pytest.mark.parametrize("changes", [{}, {"mean": [0.4, 0.6], "std": [0.2, 0.3]}])
def test_timm_takes_the_weights_and_gives_the_same_features(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    x = images()
    made, theirs = rebuilt("", tmp_path, **changes)
    assert torch.equal(theirs(made.normalise(x)), made.tokens(x))
    made, theirs = rebuilt("token", tmp_path, **changes)
    assert torch.equal(theirs(made.normalise(x)), made.features(x, "token"))


def test_with_mean_pooling_timm_normalises_the_mean(tmp_path: Path) -> None:
    x = images()
    made, theirs = rebuilt("avg", tmp_path)
    assert isinstance(theirs.norm, nn.Identity)
    wanted = made.encoder.norm(made.intermediates(x)[-1][:, 1:].mean(dim=1))
    torch.testing.assert_close(theirs(x), wanted)


def test_what_is_exported_does_not_change_with_the_network() -> None:
    made = network()
    state = made.encoder_state()
    kept = state["norm.weight"].clone()
    made.encoder.norm.weight.data.zero_()
    assert torch.equal(state["norm.weight"], kept)


def test_positions_are_sines_and_cosines_of_column_and_row() -> None:
    positions = sincos_positions((3, 5), 8)
    assert positions.shape == (15, 8)
    row, column = 2, 3
    angles = [column, column / 100, row, row / 100]
    wanted = [f(a) for pair in (angles[:2], angles[2:]) for f in (math.sin, math.cos) for a in pair]
    torch.testing.assert_close(positions[row * 5 + column], torch.tensor(wanted))
    assert len(positions.unique(dim=0)) == 15


def test_positions_are_fixed_and_the_class_token_has_none() -> None:
    encoder = network().encoder
    assert not encoder.pos_embed.requires_grad
    assert torch.equal(encoder.pos_embed[0, 0], torch.zeros(16))
    assert torch.equal(encoder.pos_embed[0, 1:], sincos_positions((3, 8), 16))


def test_weights_begin_uniform_within_xavier_s_bound_and_biases_at_0() -> None:
    module = nn.Sequential(nn.Linear(300, 100), nn.Conv2d(3, 64, 8, stride=8))
    initialise(module)
    for layer, inputs, outputs in ((module[0], 300, 100), (module[1], 192, 64)):
        bound = math.sqrt(6 / (inputs + outputs))
        assert layer.weight.abs().max() <= bound
        assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03)
        assert (layer.bias == 0).all()
