from __future__ import annotations

import pytest
import torch
from torch import nn

from functional.muon import Muon
from functional.weight_decay import exempt_from_decay


class Parts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.conv, self.norm = nn.Linear(4, 4), nn.Conv2d(1, 4, 3), nn.LayerNorm(4)
        self.cls_token = nn.Parameter(torch.ones(1, 1, 4))
        self.pos_embed = nn.Parameter(torch.ones(1, 9, 4))


DECAYED = {"layer.weight", "conv.weight"}


def test_matrices_decay_and_vectors_tokens_and_positions_do_not() -> None:
    named = list(Parts().named_parameters())
    optimizer = torch.optim.AdamW(named, lr=0.1, weight_decay=0.05, betas=(0.9, 0.95))
    decayed, exempt = exempt_from_decay(optimizer, named).param_groups
    assert set(decayed["param_names"]) == DECAYED
    assert set(exempt["param_names"]) == {name for name, _ in named} - DECAYED
    assert (decayed["weight_decay"], exempt["weight_decay"]) == (0.05, 0.0)
    assert decayed["betas"] == exempt["betas"] == (0.9, 0.95)


def test_a_step_without_gradient_shrinks_what_decays_alone() -> None:
    parts = Parts()
    before = {name: p.detach().clone() for name, p in parts.named_parameters()}
    named = list(parts.named_parameters())
    optimizer = exempt_from_decay(torch.optim.AdamW(named, lr=0.1, weight_decay=0.5), named)
    for parameter in parts.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in parts.named_parameters():
        factor = 0.95 if name in DECAYED else 1.0
        torch.testing.assert_close(parameter.detach(), factor * before[name])


@pytest.mark.parametrize("named_parameters", [True, False])
def test_it_works_for_any_optimizer(named_parameters: bool) -> None:
    named = list(Parts().named_parameters())
    given = named if named_parameters else [p for _, p in named]
    sgd = exempt_from_decay(torch.optim.SGD(given, lr=0.1, weight_decay=0.5), named)
    assert [group["weight_decay"] for group in sgd.param_groups] == [0.5, 0.0]
    muon = Muon(named, lr=0.1, adam_lr=0.1, adam_prefixes=["conv"], weight_decay=0.5)
    exempt_from_decay(muon, named)
    wanted = {True: 0.5, False: 0.0}
    held = [p for group in muon.param_groups for p in group["params"]]
    assert len(held) == len({id(p) for p in held}) == len(named)
    names = {id(p): name for name, p in named}
    for group in muon.param_groups:
        assert {wanted[names[id(p)] in DECAYED] for p in group["params"]} == {group["weight_decay"]}
