"""Images from noise by a masked autoencoder: rounds, densities, and what is refused."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from functional.seeding import ImageNoise
from networks.masked_generation import (
    Generator,
    IterativeGenerator,
    LatentGenerator,
    Sampling,
    check_generation,
    make_generator,
)
from networks.masked_vit import MaskedViT
from tests.lightning_modules.tiny_mae import PATCH, PATCHES, images, network

KINDS = ["iterative", "latent"]


def settings(**changes: Any) -> Sampling:
    given = {"rounds": 5, "temperature": 1.0, "components": 2, "axes": 3, "images": 40}
    return Sampling(**{**given, **changes})


def fitted(kind: str, net: MaskedViT, **changes: Any) -> Any:
    generator = make_generator(kind, net, settings(**changes), "random", 0.75)
    assert generator is not None
    generator.fit(net, images(40).split(16), 7)
    return generator


@pytest.fixture(scope="module")
def net() -> MaskedViT:
    return network().eval().requires_grad_(False)


@pytest.mark.parametrize("kind", KINDS)
def test_image_i_depends_on_seed_i_alone(kind: str, net: MaskedViT) -> None:
    generator = fitted(kind, net)
    together = generator.sample(net, ImageNoise([3, 4, 5]))
    assert together.shape == (3, 1, 8, 8) and together.abs().max() <= 1
    assert not torch.equal(together[0], together[1])
    for i, seed in enumerate([3, 4, 5]):
        torch.testing.assert_close(generator.sample(net, ImageNoise([seed]))[0], together[i])
    torch.testing.assert_close(generator.sample(net, ImageNoise([5, 3])), together[[2, 0]])


@pytest.mark.parametrize("kind", KINDS)
def test_the_checkpoint_holds_all_that_sampling_needs(kind: str, net: MaskedViT) -> None:
    generator = fitted(kind, net)
    other: Any = make_generator(kind, net, settings(), "random", 0.75)
    other.load_state_dict(generator.state_dict())
    assert other.fitted_at == 7
    assert torch.equal(
        other.sample(net, ImageNoise([1, 2])), generator.sample(net, ImageNoise([1, 2]))
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_density_does_not_depend_on_the_chunks_that_images_come_in(
    kind: str, net: MaskedViT
) -> None:
    one, other = (make_generator(kind, net, settings(), "random", 0.75) for _ in range(2))
    assert one is not None and other is not None
    one.fit(net, [images(40)], 7)
    other.fit(net, images(40).split(7), 7)
    for name, buffer in one.named_buffers():
        torch.testing.assert_close(buffer, other.get_buffer(name), msg=name)


# Rounds


def seen_by(net: MaskedViT, generator: Generator) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
    """What the network was asked, images and visible places, and what came of it."""
    asked: list[tuple[Tensor, Tensor]] = []
    handle = net.register_forward_pre_hook(lambda _, given: asked.append(given))
    try:
        made = generator.sample(net, ImageNoise([0, 1]))
    finally:
        handle.remove()
    return asked, made


def patch(image: Tensor, place: int) -> Tensor:
    row, column = PATCH * (place // 4), PATCH * (place % 4)
    return image[0, row : row + PATCH, column : column + PATCH]


def test_a_first_patch_is_drawn_and_known_ones_never_change(net: MaskedViT) -> None:
    asked, made = seen_by(net, fitted("iterative", net, rounds=5))
    counts = [visible.shape[1] for _, visible in asked]
    assert counts[0] == 1 and counts == sorted(set(counts)) and len(counts) == 5
    firsts = {int(visible[i, 0]) for i in range(2) for _, visible in asked[:1]}
    assert all(0 <= place < PATCHES for place in firsts)
    for before, after in pairwise(asked):
        assert torch.equal(before[1], after[1][:, : before[1].shape[1]])
    for given, visible in asked:
        for i in range(2):
            for place in visible[i].tolist():
                torch.testing.assert_close(patch(given[i], place), patch(made[i], place))


def test_cold_and_in_one_round_it_is_the_prediction_from_the_first_patch(net: MaskedViT) -> None:
    ((given, visible),), made = seen_by(net, fitted("iterative", net, rounds=1, temperature=0.0))
    predicted = net.to_images(net(given, visible)).clamp(-1, 1)
    for i in range(2):
        for place in set(range(PATCHES)) - {int(visible[i, 0])}:
            torch.testing.assert_close(patch(made[i], place), patch(predicted[i], place))


def test_heat_spreads_images_as_the_error_spread_on_training_images(net: MaskedViT) -> None:
    """A decoder that always answers 0 is off by the training patches themselves."""
    silent = network().eval().requires_grad_(False)
    silent.decoder.pred.weight.zero_()
    silent.decoder.pred.bias.zero_()
    generator = fitted("iterative", silent, rounds=1)
    patches = silent.targets(images(40)).double().flatten(0, 1)
    for residual in generator.residuals:
        # Hidden patches alone were counted; they are most of those there are.
        torch.testing.assert_close(
            residual @ residual.T, patches.T @ patches / len(patches), atol=0.05, rtol=0.1
        )
    warm = silent.targets(generator.sample(silent, ImageNoise(range(200)))).flatten(0, 1)
    assert warm.std() == pytest.approx(float(patches.std()), rel=0.15)


# Codes


def test_a_code_on_the_axes_decodes_to_what_the_decoder_makes_of_the_image(net: MaskedViT) -> None:
    generator = fitted("latent", net, axes=39)
    visible = generator.visible.expand(4, -1)
    codes = net.encode(images(40)[:4], visible).flatten(1).double()
    on_axes = (codes - generator.mean) @ generator.axes
    torch.testing.assert_close(on_axes @ generator.axes.T + generator.mean, codes)
    generator.density.sample = lambda noise: on_axes.float()
    wanted = net.to_images(net(images(40)[:4], visible)).clamp(-1, 1)
    torch.testing.assert_close(generator.sample(net, ImageNoise(range(4))), wanted)


def test_few_training_images_for_the_axes_are_named(net: MaskedViT) -> None:
    with pytest.raises(ValueError, match="40 principal axes of 40 points"):
        fitted("latent", net, axes=40)


# What is refused


def test_weights_that_moved_on_from_the_density_are_refused(net: MaskedViT) -> None:
    generator = fitted("latent", net)
    generator.check_fitted_at(7)
    with pytest.raises(ValueError, match="fitted after 7 images, and these weights have seen 8"):
        generator.check_fitted_at(8)
    with pytest.raises(ValueError, match="fitted not at all"):
        LatentGenerator(net, settings(), "random", 0.75).check_fitted_at(0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("itertive", False, None, False), "unknown generation='itertive'; known: none, iterative"),
        (("iterative", True, (0, 1), False), "needs raw pixels.*brightness.*normalised_targets=F"),
        (("latent", True, None, True), "needs raw pixels"),
        (("iterative", False, None, False), r"seen every share of them; set ratio_range=\[0, 1\]"),
        (("latent", False, None, False), "only with loss_on_all=True"),
    ],
)
def test_a_model_that_is_not_trained_for_it_is_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_generation(*arguments)


def test_a_model_that_is_trained_for_it_is_not() -> None:
    for arguments in (("none", True, None, False), ("iterative", False, (0, 1), False)):
        check_generation(*arguments)
    check_generation("latent", False, None, True)
    assert make_generator("none", network(), None, "random", 0.75) is None


@pytest.mark.parametrize(
    "change", [{"rounds": 0}, {"temperature": -1.0}, {"components": 0}, {"axes": 0}, {"images": 1}]
)
def test_settings_that_make_no_images_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(change))}={next(iter(change.values()))}"):
        settings(**change)


def test_more_rounds_than_patches_to_add_are_refused(net: MaskedViT) -> None:
    with pytest.raises(ValueError, match="16 rounds for 16 patches"):
        IterativeGenerator(net, settings(rounds=16))
    with pytest.raises(ValueError, match="needs its settings"):
        make_generator("latent", net, None, "random", 0.75)
