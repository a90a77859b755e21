from __future__ import annotations

import pytest
import torch
from scipy import stats

from functional.seeding import ImageNoise, derive_seed, image_seeds, seed_devices


def test_noise_of_an_image_depends_on_its_seed_alone_whatever_the_grouping() -> None:
    seeds = image_seeds(3, range(7))
    whole = ImageNoise(seeds)
    alone = [ImageNoise([seed]) for seed in seeds]
    shuffled = ImageNoise([seeds[i] for i in (4, 1, 6, 0, 5, 3, 2)])
    # Also the second draw, and one of another shape: a stream per image.
    for shape in ((1, 8, 8), (3, 5), (2,)):
        drawn = whole(*shape)
        assert drawn.shape == (7, *shape) and drawn.dtype == torch.float32
        assert torch.equal(drawn, torch.cat([noise(*shape) for noise in alone]))
        assert torch.equal(drawn[[4, 1, 6, 0, 5, 3, 2]], shuffled(*shape))


def test_noise_is_standard_normal_and_differs_between_images_and_draws() -> None:
    noise = ImageNoise(image_seeds(0, range(200)))
    assert len(noise) == 200
    one, two = noise(10, 10), noise(10, 10)
    assert stats.kstest(torch.cat([one, two]).flatten().numpy(), "norm").pvalue > 1e-3
    assert len(torch.unique(torch.cat([one, two]).flatten(1), dim=0)) == 400


def test_noise_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    ImageNoise([1, 2])(4, 4)
    assert torch.equal(torch.get_rng_state(), before)


def test_seeds_are_a_function_of_seed_and_index_and_do_not_collide() -> None:
    assert image_seeds(1, [5, 6]) == [derive_seed(1, 5), derive_seed(1, 6)]
    everything = {seed for run in range(20) for seed in image_seeds(run, range(500))}
    assert len(everything) == 20 * 500
    assert all(0 <= seed < 2**63 for seed in everything)
    assert derive_seed(1, 2) != derive_seed(2, 1)
    assert derive_seed(0) != derive_seed(0, 1)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError):
        derive_seed(-1, 0)


def test_seeding_is_that_of_torch() -> None:
    seed_devices(5, torch.device("cpu"))
    drawn = torch.rand(4)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(4), drawn)
