from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from networks import dcgan, gan_mlp, resnet_gan
from networks.blocks import (
    BatchNorm,
    ProjectionHead,
    SpectralNorm,
    halvings,
    normalise_spectrally,
)

CRITICS = {
    "dcgan": lambda: dcgan.Discriminator(3, 32, 8, 5, "none", True, "concat"),
    "dcgan_projection": lambda: dcgan.Discriminator(3, 32, 8, 5, "none", True),
    "resnet_gan": lambda: resnet_gan.Discriminator(3, 32, 8, 5, True),
    "gan_mlp": lambda: gan_mlp.Discriminator(3, 32, 8, 5, True),
}


def critic(name: str) -> Any:
    torch.manual_seed(0)
    return CRITICS[name]()


def largest_singular_values(network: nn.Module) -> Tensor:
    """Of the weights as the layers use them, by a full decomposition."""
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear | nn.Embedding)]
    assert len(layers) >= 3
    return torch.stack([torch.linalg.matrix_norm(m.weight.flatten(1), 2) for m in layers])


def buffers(network: nn.Module) -> dict[str, Tensor]:
    return {name: b.clone() for name, b in network.named_buffers() if name[-2:] in (".u", ".v")}


def batch() -> tuple[Tensor, Tensor]:
    return torch.rand(2, 3, 32, 32) * 2 - 1, torch.tensor([0, 3])


@pytest.mark.parametrize("name", CRITICS)
def test_every_weight_of_a_normalised_network_gets_largest_singular_value_one(name: str) -> None:
    network = critic(name)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding):
            nn.init.normal_(layer.parametrizations.weight.original, std=3.0)  # type: ignore[union-attr]
    for _ in range(150):
        network(*batch())
    values = largest_singular_values(network.eval())
    torch.testing.assert_close(values, torch.ones_like(values), atol=0.02, rtol=0)


@pytest.mark.parametrize("name", CRITICS)
def test_power_iteration_moves_in_training_and_rests_in_eval_mode(name: str) -> None:
    network = critic(name)
    inputs = batch()
    before = buffers(network.eval())
    first = network(*inputs)
    assert before and all(torch.equal(b, before[k]) for k, b in buffers(network).items())
    assert torch.equal(first, network(*inputs))
    network.train()(*inputs)
    moved = [k for k, b in buffers(network).items() if not torch.equal(b, before[k])]
    assert len(moved) >= len(before) // 2  # a weight with one row is exact from the start


@pytest.mark.parametrize("layer", [nn.Linear(7, 5), nn.Conv2d(3, 6, 4)])
def test_one_training_pass_is_one_power_iteration_as_in_torch(layer: nn.Module) -> None:
    ours, theirs = copy.deepcopy(layer), parametrizations.spectral_norm(copy.deepcopy(layer))
    normalise_spectrally(ours)
    mine, reference = ours.parametrizations.weight[0], theirs.parametrizations.weight[0]  # type: ignore[index, union-attr]
    torch.manual_seed(3)
    start = nn.functional.normalize(torch.randn_like(reference._v), dim=0)
    reference._v.copy_(start)
    if isinstance(layer, nn.Conv2d):
        start = start.unflatten(0, (3, 4, 4)).permute(1, 2, 0).flatten()
    mine.v.copy_(start)
    torch.testing.assert_close(ours.weight, theirs.weight)
    torch.testing.assert_close(mine.u, reference._u)


def test_autocast_changes_nothing_about_the_normalised_weight() -> None:
    torch.manual_seed(0)
    one = nn.Linear(40, 30)
    normalise_spectrally(one)
    two = copy.deepcopy(one)
    with torch.autocast("cpu", torch.bfloat16):
        under = one.weight
    assert under.dtype == torch.float32
    assert torch.equal(under, two.weight)


def test_the_gradient_is_that_of_equation_12_of_miyato_2018() -> None:
    torch.manual_seed(0)
    weight, outer = torch.randn(6, 4, dtype=torch.double), torch.randn(6, 4, dtype=torch.double)
    u, s, vh = torch.linalg.svd(weight)
    rule = SpectralNorm(weight).double().eval()
    rule.u.copy_(u[:, 0])
    rule.v.copy_(vh[0])
    weight.requires_grad_()
    (found,) = torch.autograd.grad((rule(weight) * outer).sum(), weight)
    along = (outer * weight.detach() / s[0]).sum()
    torch.testing.assert_close(found, (outer - along * torch.outer(u[:, 0], vh[0])) / s[0])


def test_the_gradient_has_a_gradient() -> None:
    torch.manual_seed(0)
    weight = torch.randn(3, 2, dtype=torch.double, requires_grad=True)
    rule = SpectralNorm(weight).double().eval()
    assert torch.autograd.gradgradcheck(rule, weight)


def test_two_passes_before_one_backward_are_allowed() -> None:
    network = critic("dcgan")
    (network(*batch()) - network(*batch())).sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_a_checkpoint_of_a_normalised_network_restores_its_outputs() -> None:
    torch.manual_seed(0)
    one, two = critic("resnet_gan"), resnet_gan.Discriminator(3, 32, 8, 5, True)
    inputs = batch()
    one(*inputs)
    keys = {key.split("parametrizations.")[-1] for key in one.state_dict() if "param" in key}
    assert keys == {"weight.original", "weight.0.u", "weight.0.v"}
    two.load_state_dict(one.state_dict())
    assert torch.equal(one.eval()(*inputs), two.eval()(*inputs))


def test_conditional_batch_norm_is_batch_norm_with_a_gain_and_shift_of_the_class() -> None:
    torch.manual_seed(0)
    layer, x = BatchNorm(4, num_classes=3), torch.randn(6, 4, 5, 5)
    labels = torch.tensor([0, 2, 2, 0, 0, 2])
    standard = (x - x.mean(dim=(0, 2, 3), keepdim=True)) / torch.sqrt(
        x.var(dim=(0, 2, 3), keepdim=True, correction=0) + 1e-5
    )
    torch.testing.assert_close(layer(x, labels), standard)
    nn.init.normal_(layer.gain.weight)
    nn.init.normal_(layer.shift.weight)
    y = layer(x, labels)
    for i, label in enumerate(labels):
        gain, shift = layer.gain.weight[label], layer.shift.weight[label]
        torch.testing.assert_close(y[i], standard[i] * gain[:, None, None] + shift[:, None, None])
    y.square().sum().backward()
    for table in (layer.gain.weight, layer.shift.weight):
        assert table.grad is not None
        assert table.grad.abs().amax(dim=1).gt(0).tolist() == [True, False, True]


def test_projection_adds_the_inner_product_of_class_and_features() -> None:
    torch.manual_seed(0)
    head, h, phi = ProjectionHead(6, 4, num_classes=3), torch.randn(2, 6), torch.randn(2, 4)
    first, second = torch.tensor([0, 1]), torch.tensor([2, 0])
    found = head(h, phi, first) - head(h, phi, second)
    table = head.embedding.weight
    expected = [torch.dot(table[0] - table[2], phi[0]), torch.dot(table[1] - table[0], phi[1])]
    torch.testing.assert_close(found, torch.stack(expected))


@pytest.mark.parametrize(
    ("size", "expected"), [(28, (7, 2)), (32, (4, 3)), (64, (4, 4)), (48, (6, 3)), (8, (4, 1))]
)
def test_a_size_is_a_small_map_and_doublings(size: int, expected: tuple[int, int]) -> None:
    assert halvings(size) == expected


@pytest.mark.parametrize("size", [3, 7, 27, 30, 36])
def test_a_size_that_is_none_names_itself_and_others(size: int) -> None:
    with pytest.raises(ValueError, match=rf"image_size {size} .*resize the images to 28, 32, 64"):
        halvings(size)
