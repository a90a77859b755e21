"""How a diffusion model makes images, and that it learns to make those it was shown."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from datamodules.base import Batch
from functional.latents import slerp
from functional.noise_schedule import VarianceExploding, VariancePreserving
from functional.sampling import Sampling
from functional.seeding import ImageNoise, image_seeds
from functional.time_sampling import TimeSampler
from lightning_modules.zero_shot_restoring import ENCODING_ITERATIONS
from tests.lightning_modules.tiny import SIZE, ddpm, unet


def draw(n: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 1, SIZE, SIZE, generator=generator)


SETTINGS: dict[str, dict[str, Any]] = {
    "heun": {},
    "ancestral": {
        "schedule": VariancePreserving(1000),
        "prediction": "eps",
        "sampling": Sampling("ancestral", 4, "trailing", clip=True),
    },
    "ddim with noise": {
        "schedule": VariancePreserving(1000, "cosine"),
        "prediction": "v",
        "sampling": Sampling("ddim", 4, "leading", clip=True, eta=1.0),
    },
    "edm": {
        "schedule": VarianceExploding(),
        "prediction": "edm",
        "sampling": Sampling("heun", 4, "karras", clip=False),
    },
    "two steps": {"sampling": Sampling("adams_bashforth", 4, "trailing", clip=False)},
    "solver": {"sampling": Sampling("dpm_solver_pp", 4, "karras", clip=False)},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_an_image_depends_on_its_seed_alone(settings: dict[str, Any]) -> None:
    module = ddpm(**settings)
    seeds = image_seeds(0, range(6))
    whole = module.sample(6, seeds=seeds)
    assert whole.shape == (6, 1, SIZE, SIZE) and whole.abs().max() <= 1
    assert len(torch.unique(whole.flatten(1), dim=0)) == 6
    groups = [module.sample(len(part), seeds=part) for part in (seeds[:1], seeds[1:4], seeds[4:])]
    torch.testing.assert_close(torch.cat(groups), whole, rtol=1e-4, atol=1e-5)
    order = [3, 0, 5, 1, 4, 2]
    permuted = module.sample(6, seeds=[seeds[i] for i in order])
    torch.testing.assert_close(permuted, whole[order], rtol=1e-4, atol=1e-5)


def test_sampling_leaves_the_randomness_of_training_alone() -> None:
    module = ddpm(**SETTINGS["ancestral"])
    torch.manual_seed(0)
    before = torch.get_rng_state()
    module.sample(2, seeds=[1, 2])
    assert torch.equal(torch.get_rng_state(), before)


def test_sampling_keeps_no_graph() -> None:
    assert not ddpm().sample(1, seeds=[1]).requires_grad


def test_labels_and_a_wrong_number_of_seeds_are_refused() -> None:
    module = ddpm()
    with pytest.raises(ValueError, match="without labels"):
        module.sample(1, seeds=[1], labels=torch.zeros(1).long())
    with pytest.raises(ValueError, match="3 images need 3 seeds, got 2"):
        module.sample(3, seeds=[1, 2])


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_the_last_frame_of_a_chain_is_the_sample(settings: dict[str, Any]) -> None:
    module, seeds = ddpm(**settings), [5, 6, 7]
    chain = module.chain(seeds, frames=4)
    assert chain.shape == (3, 4, 1, SIZE, SIZE)
    assert torch.equal(chain[:, -1], module.sample(3, seeds=seeds))
    assert chain.abs().max() <= 1
    assert not torch.equal(chain[:, 0], chain[:, -1])


def test_previews_are_64_samples_and_8_chains_and_stay_the_same() -> None:
    module = ddpm()
    batch = Batch(draw(2), torch.zeros(2).long(), torch.arange(2))
    one, other = module.previews(batch), module.previews(batch)
    assert one["samples"].shape == (64, 1, SIZE, SIZE)
    assert one["chain"].shape == (8, 8, 1, SIZE, SIZE)
    for name in one:
        assert torch.equal(one[name], other[name])


def test_a_clipped_estimate_lies_in_the_range_of_images() -> None:
    module = ddpm(sampling=Sampling("heun", 3, "trailing", clip=True))
    x_t, t = 50 * draw(2), torch.tensor(0.9, dtype=torch.float64)
    clipped = module.denoiser()(x_t, t)
    assert clipped.abs().max() == 1
    module.model.clip = False
    assert torch.equal(module.denoiser()(x_t, t).clamp(-1, 1), clipped)


def test_bf16_touches_the_network_alone() -> None:
    module = ddpm()
    seeds = image_seeds(0, range(3))
    exact = module.sample(3, seeds=seeds)
    module.autocast_dtype = torch.bfloat16
    dtypes = []
    module.network.register_forward_hook(lambda m, i, output: dtypes.append(output.dtype))
    rough = module.sample(3, seeds=seeds)
    assert set(dtypes) == {torch.bfloat16}
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    torch.testing.assert_close(rough, exact, rtol=0, atol=0.05)


class Perceptron(nn.Module):
    """Images of a few pixels and times, to images."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(pixels + 1, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(),
            nn.Linear(64, pixels),
        )  # fmt: skip

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        flat = torch.cat([x.flatten(1), t[:, None] / 1000], dim=1)
        output: Tensor = self.layers(flat).view_as(x)
        return output


RECIPES: dict[str, dict[str, Any]] = {
    "flow matching": {"sampling": Sampling("heun", 12, "trailing", clip=False)},
    "ddpm": {
        "schedule": VariancePreserving(1000, "cosine"),
        "prediction": "eps",
        "sampling": Sampling("ancestral", 100, "trailing", clip=True),
    },
    "edm": {
        "schedule": VarianceExploding(),
        "times": TimeSampler("logit_normal", mean=-1.2, std=1.2),
        "prediction": "edm",
        "sampling": Sampling("heun", 18, "karras", clip=False),
    },
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_trained_on_two_images_it_generates_both_and_nothing_else(recipe: str) -> None:
    settings = {"network": Perceptron(4), "times": TimeSampler("uniform"), **RECIPES[recipe]}
    adam = partial(torch.optim.Adam, lr=5e-3)
    module = ddpm(image_size=2, optimizer=adam, scrambled=False, **settings)
    kinds = torch.tensor([[-0.8, 0.6, -0.8, 0.6], [0.7, 0.7, -0.5, -0.5]]).view(2, 1, 2, 2)
    optimizer, steps = module.configure_optimizers()["optimizer"], 1200
    module.log = lambda *_, **__: None  # type: ignore[method-assign]
    module.train()
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 5e-3 * (1 - step / steps)
        images = kinds[torch.randint(2, (256,))]
        loss = module.training_step(Batch(images, torch.zeros(256).long(), torch.arange(256)), 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    made = module.eval().sample(200, seeds=image_seeds(0, range(200)))
    nearest, which = (made[:, None] - kinds[None]).abs().flatten(2).amax(dim=2).min(dim=1)
    # The two differ by 1.5 in half of their pixels.
    assert nearest.median() < 0.15
    assert (nearest < 0.5).float().mean() > 0.9
    assert 0.3 < which.float().mean() < 0.7


def test_decoding_is_sampling_from_a_given_start_and_encoding_leads_there() -> None:
    module = ddpm(sampling=Sampling("ddim", 40, "quadratic", clip=False))
    for parameter in module.network.parameters():
        parameter.data.mul_(0.3)
    noise = ImageNoise([3, 4])(1, SIZE, SIZE)
    images = module.sample(2, seeds=[3, 4])
    assert torch.equal(module.decode(noise), images)
    again = module.decode(module.encode(images, iterations=5))
    assert (again - images).abs().mean() < 0.05 * images.std()


def test_ways_are_great_circles_of_noise_between_samples_or_encoded_images() -> None:
    module = ddpm(sampling=Sampling("ddim", 3, "quadratic", clip=False))
    noise = ImageNoise([3, 4, 5])(1, SIZE, SIZE)
    ways = module.interpolate([3, 4, 5], [0, 0.5, 1])
    assert ways.shape == (2, 3, 1, SIZE, SIZE)
    torch.testing.assert_close(ways[:, 0], module.decode(noise[:2]))
    torch.testing.assert_close(ways[:, 2], module.decode(noise[1:]))
    middle = slerp(*noise[:2].flatten(1).split(1), 0.5).view(1, 1, SIZE, SIZE)
    torch.testing.assert_close(ways[:1, 1], module.decode(middle))
    images = module.decode(noise[:2])
    known = module.encode(images, iterations=ENCODING_ITERATIONS)
    found = module.interpolate(images, [0, 1])
    torch.testing.assert_close(found[0], module.decode(known))
    needy = ddpm(network=unet(num_classes=2))
    with pytest.raises(ValueError, match="of which class are the images"):
        needy.interpolate(images, [0, 1])


def test_ways_between_seeds_are_of_the_classes_that_samples_of_them_have() -> None:
    network = unet(num_classes=3)
    module = ddpm(
        network=network, label_dropout=0.5, sampling=Sampling("ddim", 3, "trailing", clip=True)
    )
    ways = module.interpolate([4, 7, 10], [0, 0.5, 1])
    torch.testing.assert_close(ways[:, 0], module.sample(2, seeds=[4, 7]))
    torch.testing.assert_close(ways[:, 2], module.sample(2, seeds=[7, 10]))
    other = module.interpolate([4, 7, 10], [0], label=0)[:, 0]
    assert not torch.allclose(ways[:, 0], other, atol=1e-3)


@pytest.mark.parametrize("sampler", ["heun", "ddim"])
def test_the_evaluations_of_a_variation_or_a_way_are_those_that_were_spent(sampler: str) -> None:
    network = unet(num_classes=2)
    sampling = Sampling(sampler, 8, "trailing", clip=True, guidance=2.0)
    module = ddpm(network=network, label_dropout=0.5, sampling=sampling)
    images, seen = torch.zeros(1, 1, SIZE, SIZE), []
    network.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    for strength in (0.0, 0.3, 1.0):
        module.vary(images, strength, seeds=[1], labels=torch.tensor([1]))
        spent, told = sum(seen), module.varying_record(strength)
        assert (told["nfe"], told["sampler"]) == (spent, sampler)
        seen.clear()
    assert spent == module.sampling_record()["nfe"]
    module.interpolate([1, 2], [0.5])
    assert (module.interpolating_record()["nfe"], module.interpolating_record()["sampler"]) == (
        sum(seen), "ddim",
    )  # fmt: skip
