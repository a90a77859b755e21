"""Muon against its definition and against torch's own implementation."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from functional.muon import Muon, orthogonalize


def test_orthogonalize_keeps_singular_vectors_and_levels_singular_values() -> None:
    matrices = torch.randn(3, 12, 30, generator=torch.Generator().manual_seed(0))
    u, _, vt = torch.linalg.svd(matrices, full_matrices=False)
    in_its_own_basis = u.mT @ orthogonalize(matrices) @ vt.mT
    singular = torch.linalg.svdvals(orthogonalize(matrices))
    assert singular.min() > 0.6
    assert singular.max() < 1.3
    off_diagonal = in_its_own_basis - torch.diag_embed(in_its_own_basis.diagonal(dim1=1, dim2=2))
    assert off_diagonal.abs().max() < 0.05


def test_a_tall_matrix_is_the_transpose_of_a_wide_one() -> None:
    wide = torch.randn(8, 20, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(orthogonalize(wide.mT), orthogonalize(wide).mT)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch before 2.9 has no Muon")
def test_steps_on_matrices_equal_torch_muon() -> None:
    generator = torch.Generator().manual_seed(2)
    ours, theirs = (nn.Parameter(torch.ones(6, 10)) for _ in range(2))
    mine = Muon([("weight", ours)], lr=0.02, adam_lr=0.1, adam_prefixes=[], weight_decay=0.1)
    other = torch.optim.Muon(
        [theirs], lr=0.02, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw"
    )
    for _ in range(4):
        gradient = torch.randn(6, 10, generator=generator)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        mine.step()
        other.step()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-3)


def test_everything_but_hidden_matrices_is_stepped_as_adamw() -> None:
    generator = torch.Generator().manual_seed(3)
    shapes = {"stem.weight": (4, 3, 3, 3), "block.bias": (4,)}
    ours = {name: nn.Parameter(torch.ones(shape)) for name, shape in shapes.items()}
    theirs = {name: nn.Parameter(torch.ones(shape)) for name, shape in shapes.items()}
    settings = {"betas": (0.9, 0.99), "weight_decay": 0.1}
    mine = Muon(ours.items(), lr=1.0, adam_lr=0.01, adam_prefixes=["stem"], **settings)
    other = torch.optim.AdamW(theirs.values(), lr=0.01, **settings)
    for _ in range(3):
        for name, shape in shapes.items():
            gradient = torch.randn(shape, generator=generator)
            ours[name].grad, theirs[name].grad = gradient.clone(), gradient.clone()
        mine.step()
        other.step()
    for name in shapes:
        torch.testing.assert_close(ours[name], theirs[name])


def test_a_convolution_is_one_matrix_and_its_update_has_the_promised_size() -> None:
    weight = nn.Parameter(torch.zeros(16, 8, 3, 3))
    optimiser = Muon([("conv", weight)], lr=0.5, adam_lr=0.0, adam_prefixes=[])
    weight.grad = torch.randn(16, 8, 3, 3, generator=torch.Generator().manual_seed(4))
    optimiser.step()
    assert float(weight.detach().square().mean().sqrt()) == pytest.approx(0.2 * 0.5, rel=0.2)


def test_its_state_survives_a_checkpoint_to_the_bit() -> None:
    network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3))
    twin = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3))
    settings = {"lr": 0.01, "adam_lr": 0.01, "adam_prefixes": ["0."]}
    one, two = (Muon(n.named_parameters(), **settings) for n in (network, twin))
    images = torch.randn(2, 2, 8, 8)

    def step(model: nn.Module, optimiser: Muon) -> None:
        optimiser.zero_grad()
        model(images).square().mean().backward()
        optimiser.step()

    step(network, one)
    twin.load_state_dict(network.state_dict())
    two.load_state_dict(copy.deepcopy(one.state_dict()))
    for _ in range(2):
        step(network, one)
        step(twin, two)
    for a, b in zip(network.parameters(), twin.parameters(), strict=True):
        assert torch.equal(a, b)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="momentum=1"):
        Muon([("w", nn.Parameter(torch.ones(2, 2)))], lr=1, adam_lr=1, adam_prefixes=[], momentum=1)
