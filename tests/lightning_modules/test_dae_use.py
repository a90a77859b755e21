"""What a trained denoising autoencoder is used for: restoring, features, images from noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from functional.corruption import Gaussian, SaltAndPepper
from functional.degradation import Blur
from functional.restore_tasks import restore_task
from lightning_modules.base import ImageModule
from lightning_modules.dae import DAE
from lightning_modules.generation import generate
from tests.lightning_modules.tiny import SIZE, data, trainer
from tests.lightning_modules.tiny_dae import WALKBACK, batch, conv, dae, images, sampling

CONV: dict[str, Any] = {"network": conv(), "conditional": False}
SAMPLERS: dict[str, dict[str, Any]] = {
    "walkback": {**WALKBACK, "sampling": sampling("walkback")},
    "langevin": {"sampling": sampling("langevin")},
    "codes": {"network": conv(), "conditional": False, "sampling": sampling("codes")},
}


def sampler(name: str) -> DAE:
    module = dae(**SAMPLERS[name])
    if module.density is not None:
        module.density.fit(module.features(images(20)))
    return module


# What it can do


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, {"restore", "score"}),
        (CONV, {"restore", "features"}),
        (SAMPLERS["walkback"], {"restore", "sample", "chain"}),
        (SAMPLERS["codes"], {"restore", "features", "sample"}),
    ],
)
def test_it_says_what_it_can_do(changes: dict[str, Any], wanted: set[str]) -> None:
    assert dae(**changes).capabilities == wanted <= DAE.capabilities
    for name in ("sample", "restore", "features"):
        assert getattr(DAE, name) is not getattr(ImageModule, name)


def test_features_are_codes_of_images_as_they_are() -> None:
    module = dae(**CONV)
    features = module.features(images())
    assert torch.equal(features, module.network.encode(images()))
    assert features.shape == (4, 5) and not features.requires_grad
    with pytest.raises(NotImplementedError, match="UNet has no code"):
        dae().features(images())


# Restoring


@pytest.mark.parametrize("name", ["denoise-0.5", "deblur-1.5", "inpaint-50", "salt_pepper-30"])
@pytest.mark.parametrize("changes", [{}, CONV], ids=["conditional", "plain"])
def test_it_restores_from_any_operator_and_each_image_stands_alone(
    name: str, changes: dict[str, Any]
) -> None:
    module, task = dae(**changes), restore_task(name, (1, SIZE, SIZE))
    operator = task.operator(range(4), module.device)
    restored = module.restore(operator.apply(images()), operator, seeds=range(4))
    assert restored.shape == images().shape and restored.abs().max() <= 1
    assert restored.dtype == torch.float32 and not restored.requires_grad
    one = task.operator([2], module.device)
    alone = module.restore(one.apply(images()[2:3]), one, seeds=[2])
    torch.testing.assert_close(alone, restored[2:3])


def test_a_conditional_model_is_told_the_operator_s_level() -> None:
    module, noisy = dae(), images()
    weak, strong = (
        module.restore(noisy, Gaussian(level).draw(lambda *s: torch.zeros(4, *s), (1, SIZE, SIZE)),
                       seeds=range(4))
        for level in (0.1, 0.6)
    )  # fmt: skip
    assert not torch.allclose(weak, strong)
    nothing = module.restore(noisy, Blur(1.0), seeds=range(4))
    torch.testing.assert_close(nothing, module.denoise(noisy, torch.zeros(4)))


# Images from noise


@pytest.mark.parametrize("name", SAMPLERS)
def test_image_i_is_of_seed_i_alone(name: str) -> None:
    module = sampler(name)
    together = module.sample(3, seeds=[5, 6, 7])
    assert together.shape == (3, 1, SIZE, SIZE) and together.abs().max() <= 1
    torch.testing.assert_close(module.sample(1, seeds=[6]), together[1:2])
    assert not torch.equal(together[0], together[1])
    assert torch.equal(module.sample(3, seeds=[5, 6, 7]), together)


@pytest.mark.parametrize("name", SAMPLERS)
def test_chunks_and_processes_change_nothing(name: str) -> None:
    module = sampler(name)

    def all_images(world_size: int) -> Tensor:
        chunks = [
            c for rank in range(world_size) for c in generate(module, 10, 3, rank, world_size)
        ]
        order = torch.cat([c.indices for c in chunks]).argsort()
        return torch.cat([c.images for c in chunks])[order]

    module.chunk_size = 4
    assert torch.equal(all_images(1), all_images(2))


def test_the_images_of_walkback_are_drawn_and_no_means() -> None:
    drawn = sampler("walkback").sample(4, seeds=range(4))
    assert set(drawn.unique().tolist()) == {-1.0, 1.0}


@pytest.mark.parametrize(("name", "frames"), [("walkback", 8), ("langevin", 5)])
def test_a_chain_ends_in_the_sample_of_its_seed(name: str, frames: int) -> None:
    module = sampler(name)
    chain = module.chain([5, 6], frames)
    assert chain.shape == (2, frames, 1, SIZE, SIZE)
    torch.testing.assert_close(chain[:, -1], module.sample(2, seeds=[5, 6]))


def test_more_sweeps_go_on_from_where_fewer_end() -> None:
    few, more = (
        dae(**{**SAMPLERS["walkback"], "sampling": sampling("walkback", steps=n)}) for n in (2, 5)
    )
    seen: list[Tensor] = []
    more.sample(2, seeds=[0, 1], trace=lambda sweep, x, shown: seen.append(x))
    assert len(seen) == 5
    torch.testing.assert_close(few.sample(2, seeds=[0, 1]), seen[1])


def test_the_density_of_codes_is_fitted_in_a_validation_and_lies_in_the_checkpoint(
    tmp_path: Path,
) -> None:
    module = dae(**SAMPLERS["codes"])
    with pytest.raises(ValueError, match="no density has been fitted to training images yet"):
        module.sample(1, seeds=[0])
    trainer(tmp_path, [], steps=3).fit(module, data())
    other = dae(**SAMPLERS["codes"])
    other.load_state_dict(module.state_dict())
    torch.testing.assert_close(other.sample(2, seeds=[0, 1]), module.eval().sample(2, seeds=[0, 1]))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"n": 2, "seeds": [0]}, "2 images need 2 seeds, got 1"),
        ({"n": 1, "seeds": [0], "labels": torch.zeros(1)}, "trained without labels"),
    ],
)
def test_what_cannot_be_sampled_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sampler("walkback").sample(**given)
    with pytest.raises(
        ValueError, match="trained to restore and not.*experiment=quick/dae_langevin"
    ):
        dae().sample(1, seeds=[0])


# Pictures and records


@pytest.mark.parametrize("name", [None, *SAMPLERS])
def test_previews_show_clean_corrupted_and_restored_and_chains(name: str | None) -> None:
    module = (
        dae(corruption=SaltAndPepper(0.3), conditional=False) if name is None else sampler(name)
    )
    shown = module.previews(batch(5))
    wanted = {"restored": (5, 3)}
    wanted |= {} if name is None else {"samples": (64, 1)}
    wanted |= {"chain": (8, 8)} if name in ("walkback", "langevin") else {}
    assert {key: tuple(rows.shape[:2]) for key, rows in shown.items()} == wanted
    for rows in shown.values():
        assert rows.abs().max() <= 1 and rows.dtype == torch.float32 and not rows.requires_grad
    assert torch.equal(shown["restored"][:, 0], images(5))
    again = module.previews(batch(5))
    assert all(torch.equal(rows, again[key]) for key, rows in shown.items())


def test_the_record_is_that_of_the_sampler_and_operations_are_counted() -> None:
    assert sampler("langevin").sampling_record()["nfe"] == 6
    assert dae(**CONV).forward_flops() > 0 and dae().forward_flops() > 0
