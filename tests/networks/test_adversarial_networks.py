"""What every generator and discriminator promises, whatever its architecture."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from networks import dcgan, gan_mlp, infogan, r3gan, resnet_gan

N, Z, CLASSES = 3, 8, 5
FAMILIES = [
    "dcgan", "dcgan_other_conditioning", "resnet_gan", "gan_mlp", "infogan",
    "r3gan", "r3gan_embedded_classes",
]  # fmt: skip
PACKAGES: dict[str, Any] = {
    "dcgan": dcgan, "resnet_gan": resnet_gan, "gan_mlp": gan_mlp, "infogan": infogan,
}  # fmt: skip
SIZES = [(28, 1), (28, 3), (32, 1), (32, 3), (64, 1), (64, 3)]


def generator(family: str, channels: int = 1, size: int = 28, classes: int = 0) -> Any:
    torch.manual_seed(0)
    if family.startswith("r3gan"):
        widths = [16] * (3 if size == 28 else 4 if size == 32 else 5)
        class_dim = 6 if family == "r3gan_embedded_classes" else 0
        return r3gan.Generator(Z, channels, size, widths, classes, 1, class_dim=class_dim)
    if family == "dcgan_other_conditioning":
        return dcgan.Generator(Z, channels, size, 4, classes, conditioning="batch_norm")
    return PACKAGES[family].Generator(Z, channels, size, 4, classes)


def discriminator(family: str, channels: int = 1, size: int = 28, classes: int = 0) -> Any:
    torch.manual_seed(0)
    if family.startswith("r3gan"):
        widths = [16] * (3 if size == 28 else 4 if size == 32 else 5)
        class_dim = 6 if family == "r3gan_embedded_classes" else 0
        return r3gan.Discriminator(channels, size, widths, classes, 1, class_dim=class_dim)
    if family == "dcgan_other_conditioning":
        return dcgan.Discriminator(
            channels, size, 4, classes, norm="none", spectral_norm=True, conditioning="concat"
        )
    if family == "infogan":
        return infogan.Discriminator(channels, size, 4, classes, norm="none")
    return PACKAGES[family].Discriminator(channels, size, 4, classes)


def images(channels: int = 1, size: int = 28) -> Tensor:
    return torch.rand(N, channels, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1


def latents() -> Tensor:
    return torch.randn(N, Z, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("size", "channels"), SIZES)
def test_latents_become_images_in_range_and_images_become_logits(
    family: str, size: int, channels: int
) -> None:
    network = generator(family, channels, size)
    assert network.z_dim == Z
    made = network(100 * latents())
    assert made.shape == (N, channels, size, size)
    assert -1 <= made.min() < 0 < made.max() <= 1
    critic = discriminator(family, channels, size)
    assert critic(made).shape == (N,)
    assert critic.features(made).ndim == 2
    assert len(critic.features(made)) == N


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("classes", [0, CLASSES])
def test_under_autocast_images_logits_and_features_are_float32(family: str, classes: int) -> None:
    labels = torch.tensor([0, 1, 4]) if classes else None
    with torch.autocast("cpu", torch.bfloat16):
        made = generator(family, classes=classes)(latents(), labels)
        critic = discriminator(family, classes=classes)
        outputs = [made, critic(made, labels), critic.features(made)]
    assert {output.dtype for output in outputs} == {torch.float32}


@pytest.mark.parametrize("family", FAMILIES)
def test_in_eval_mode_an_image_depends_on_its_own_latent_alone(family: str) -> None:
    network = generator(family).eval()
    z = latents()
    alone = torch.cat([network(z[i : i + 1]) for i in range(N)])
    torch.testing.assert_close(network(z), alone)
    assert not torch.allclose(alone[0], alone[1])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("classes", [0, CLASSES])
def test_every_parameter_takes_part_in_the_loss(family: str, classes: int) -> None:
    labels = torch.tensor([0, 1, 4]) if classes else None
    g, d = generator(family, classes=classes), discriminator(family, classes=classes)
    d(g(latents(), labels), labels).sum().backward()
    missing = [name for net in (g, d) for name, p in net.named_parameters() if p.grad is None]
    assert not missing


def scrambled(network: nn.Module) -> Any:
    """Gains and shifts that start equal for all classes, and zero weights, are told apart."""
    torch.manual_seed(2)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network.eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_class_changes_images_and_logits(family: str) -> None:
    g, d = scrambled(generator(family, classes=CLASSES)), discriminator(family, classes=CLASSES)
    z, real, zeros = latents(), images(), torch.zeros(N, dtype=torch.int64)
    assert ((g(z, zeros) - g(z, zeros + 1)).abs().amax(dim=(1, 2, 3)) > 1e-3).all()
    d = scrambled(d)
    assert ((d(real, zeros) - d(real, zeros + 1)).abs() > 1e-3).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_gradient_penalty_reaches_the_weights_of_the_discriminator(family: str) -> None:
    critic = scrambled(discriminator(family))
    real = images().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(real).sum(), real, create_graph=True)
    penalty = gradient.square().sum()
    first = next(critic.parameters())
    others = [p for p in critic.parameters() if p.ndim > 1]
    found = torch.autograd.grad(penalty, others, allow_unused=True)
    assert penalty > 0 and first.requires_grad
    assert all(g is not None and g.isfinite().all() and g.abs().max() > 0 for g in found)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("classes", "labels", "message"),
    [
        (CLASSES, None, "conditional on 5 classes and got no labels"),
        (0, torch.zeros(N, dtype=torch.int64), "unconditional"),
        (CLASSES, torch.zeros(N), "float32"),
        (CLASSES, torch.zeros(N + 1, dtype=torch.int64), r"shape \(4,\); expected int64 \(3,\)"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    family: str, classes: int, labels: Tensor | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        generator(family, classes=classes)(latents(), labels)
    with pytest.raises(ValueError, match=message):
        discriminator(family, classes=classes)(images(), labels)


@pytest.mark.parametrize("family", FAMILIES)
def test_latents_and_images_of_another_shape_are_refused(family: str) -> None:
    with pytest.raises(ValueError, match=r"z has shape \(3, 9\); expected \(N, 8\)"):
        generator(family)(torch.zeros(N, Z + 1))
    with pytest.raises(ValueError, match=r"expected \(N, \*\(1, 28, 28\)\)"):
        discriminator(family)(images(3, 32))


def test_sizes_that_do_not_halve_to_a_small_map_are_refused_before_training() -> None:
    for build in (
        lambda: dcgan.Generator(Z, 1, 30, 4),
        lambda: dcgan.Discriminator(1, 30, 4),
        lambda: resnet_gan.Generator(Z, 1, 30, 4),
        lambda: r3gan.Generator(Z, 1, 30, [16, 16]),
        lambda: infogan.Generator(Z, 1, 30, 4),
    ):
        with pytest.raises(ValueError, match="image_size 30"):
            build()
