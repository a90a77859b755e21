from __future__ import annotations

import pytest
import torch

from datamodules.base import Batch
from functional.images import to_uint8
from functional.seeding import image_seeds
from lightning_modules.generation import generate
from tests.lightning_modules.test_gan import Generator, gan
from tests.lightning_modules.tiny import SIZE


def test_an_image_depends_on_its_seed_alone() -> None:
    module = gan().eval()
    torch.testing.assert_close(
        module.sample(3, seeds=[5, 6, 7])[1:], module.sample(2, seeds=[6, 7]), rtol=0, atol=1e-6
    )
    assert not torch.allclose(module.sample(1, seeds=[1]), module.sample(1, seeds=[2]))


def test_a_conditional_model_draws_the_class_it_is_asked_for() -> None:
    module = gan(generator=Generator(num_classes=3)).eval()
    images = module.sample(2, seeds=[4, 4], labels=torch.tensor([1, 2]))
    assert not torch.allclose(images[0], images[1])
    torch.testing.assert_close(module.sample(1, seeds=[4]), images[:1])
    shown = module.previews(Batch(images, images, images))
    assert shown["classes"].shape == (3, 8, 1, SIZE, SIZE)
    assert shown["interpolation"].shape == (8, 8, 1, SIZE, SIZE)
    with pytest.raises(ValueError, match="trained without labels"):
        gan().sample(1, seeds=[0], labels=torch.tensor([0]))


def test_the_ends_of_an_interpolation_are_samples() -> None:
    shown = gan().eval().previews(None)  # type: ignore[arg-type]
    torch.testing.assert_close(shown["interpolation"][:, 0], shown["samples"][:8])
    torch.testing.assert_close(shown["interpolation"][:, -1], shown["samples"][8:16])


def test_ways_lead_from_each_sample_to_the_next_within_a_class() -> None:
    module = gan(generator=Generator(num_classes=3)).eval()
    ways = module.interpolate([3, 4, 5], [0, 0.5, 1], label=1)
    assert ways.shape == (2, 3, 1, SIZE, SIZE)
    ends = module.sample(3, seeds=[3, 4, 5], labels=torch.ones(3).long())
    torch.testing.assert_close(ways[:, 0], ends[:-1])
    torch.testing.assert_close(ways[:, -1], ends[1:])
    # Without a class that of the first end, here 3 % 3.
    torch.testing.assert_close(module.interpolate([3, 4], [0])[0], module.sample(1, seeds=[3]))
    with pytest.raises(ValueError, match="knows no latents of given images"):
        module.interpolate(ends, [0, 1])


def test_images_of_truncated_latents_have_a_protocol_of_their_own() -> None:
    plain, truncated = gan().eval(), gan(truncation=0.1).eval()
    assert plain.sampling_record()["sampler"] == "generator"
    assert truncated.sampling_record()["sampler"] == "generator, truncation 0.1"
    assert not torch.allclose(plain.sample(1, seeds=[1]), truncated.sample(1, seeds=[1]))


def test_all_images_are_of_the_class_that_is_asked_for() -> None:
    module = gan(generator=Generator(num_classes=3)).eval()
    module.chunk_size = 2
    made = torch.cat([chunk.images for chunk in generate(module, 5, seed=0, label=2)])
    labels = torch.full((5,), 2)
    wanted = module.sample(5, seeds=image_seeds(0, range(5)), labels=labels)
    torch.testing.assert_close(made, to_uint8(wanted), rtol=0, atol=1)


def test_a_class_that_the_model_does_not_know_is_refused() -> None:
    module = gan(generator=Generator(num_classes=3)).eval()
    with pytest.raises(ValueError, match="labels lie in 3 to 3; this model knows 0 to 2"):
        module.sample(1, seeds=[0], labels=torch.tensor([3]))


def test_the_picture_of_the_classes_stays_of_a_size_to_look_at() -> None:
    module = gan(generator=Generator(num_classes=100)).eval()
    assert module.previews(None)["classes"].shape[:2] == (32, 8)  # type: ignore[arg-type]
