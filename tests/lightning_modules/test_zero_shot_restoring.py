"""A diffusion model restores and varies images, by settings that old runs need not have."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from functional.masking import MaskOperator
from functional.noise_schedule import VarianceExploding, VariancePreserving
from functional.restore_tasks import restore_task
from functional.restoring import Restoring
from functional.sampling import Sampling
from functional.zero_shot import RESTORERS
from lightning_modules.ddpm import DDPM
from tests.lightning_modules.tiny import SIZE, ddpm, unet

IMAGES = torch.rand(3, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1
SEEDS = [3, 4, 5]
CPU = torch.device("cpu")
SCHEDULES: dict[str, dict[str, Any]] = {
    "path": {},
    "chain": {"schedule": VariancePreserving(50, "cosine"), "prediction": "v"},
    "exploding": {"schedule": VarianceExploding(), "prediction": "edm"},
}


def model(restorer: str = "ddnm", schedule: str = "path", **changes: Any) -> DDPM:
    restoring = Restoring(restorer, steps=4, jump=1, resamples=2)
    return ddpm(restoring=restoring, **SCHEDULES[schedule], **changes)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("restorer", [name for name in RESTORERS if name != "estimate"])
def test_an_inpainted_image_is_of_its_own_seed_and_keeps_its_known_part(
    restorer: str, schedule: str
) -> None:
    module = model(restorer, schedule)
    task = module.restore_task("random-50")
    operator: Any = task.operator(SEEDS, CPU)
    corrupted = operator.apply(IMAGES)
    with torch.inference_mode():
        restored = module.restore(corrupted, operator, seeds=SEEDS)
        alone = module.restore(corrupted[1:2], task.operator(SEEDS[1:2], CPU), seeds=SEEDS[1:2])
    torch.testing.assert_close(restored[1:2], alone)
    assert restored.abs().max() <= 1
    if restorer in ("ddnm", "repaint", "replacement"):
        assert torch.equal(operator.apply(restored), corrupted)


@pytest.mark.parametrize("name", ["denoise-0.1", "super-resolve-2", "deblur-0.7", "inpaint-50"])
def test_every_linear_task_is_restored(name: str) -> None:
    module, operator = model(), restore_task(name, (1, SIZE, SIZE)).operator(SEEDS, CPU)
    corrupted = operator.apply(IMAGES)
    restored = module.restore(corrupted, operator, seeds=SEEDS)
    assert restored.shape == IMAGES.shape and torch.isfinite(restored).all()


def test_what_is_not_linear_is_refused() -> None:
    operator = restore_task("jpeg-10", (1, SIZE, SIZE)).operator(SEEDS, CPU)
    with pytest.raises(ValueError, match="JPEG is not linear"):
        model().restore(IMAGES, operator, seeds=SEEDS)
    with pytest.raises(ValueError, match="3 images need as many seeds, got 1"):
        model().restore(IMAGES, operator, seeds=[0])


def test_what_sets_a_restorer_apart_is_in_its_name() -> None:
    assert Restoring("pigdm", 9).name == "pigdm, 9 steps, eta 1, data_std 0.5"
    assert Restoring("pigdm", 9, clip=False).name.endswith("data_std 0.5, unclipped")
    assert Restoring("estimate").name == "estimate" and Restoring("dps").name.endswith("scale 0.25")


def test_little_noise_takes_few_evaluations() -> None:
    def nfe(level: float, **settings: Any) -> int:
        module = ddpm(restoring=Restoring(**settings))
        operator = restore_task(f"denoise-{level}", (1, SIZE, SIZE)).operator([0], CPU)
        found: int = module.restoring_record(operator)["nfe"]
        return found

    assert nfe(0.05, steps=50) < nfe(0.5, steps=50) < 30
    assert nfe(0.5, restorer="estimate") == 1
    # Of these the first state is noise, which it is at the last time alone.
    assert nfe(0.5, restorer="pigdm", steps=50) == nfe(0.5, restorer="dps", steps=50) == 50
    mask = MaskOperator("mask", torch.ones(1, 1, SIZE, SIZE, dtype=torch.bool))
    record = ddpm(restoring=Restoring("repaint", 10, jump=2, resamples=3)).restoring_record(mask)
    assert record["nfe"] == 26 and record["sampler"] == "repaint, 10 steps, jump 2, resamples 3"


def test_evaluations_are_counted_as_they_are_made() -> None:
    module = model("repaint")
    operator = restore_task("denoise-0.3", (1, SIZE, SIZE)).operator(SEEDS, CPU)
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    module.network.register_forward_hook(count)
    for name in ("ddnm", "repaint", "pigdm", "dps", "estimate"):
        module.restoring, calls = Restoring(name, steps=6, jump=1, resamples=2), 0
        module.restore(IMAGES, operator, seeds=SEEDS)
        assert calls == module.restoring_record(operator)["nfe"]


def test_strength_0_gives_the_images_and_1_samples() -> None:
    module = ddpm(sampling=Sampling("ancestral", 4, "trailing", clip=True))
    assert torch.equal(module.vary(IMAGES, 0.0, seeds=SEEDS), IMAGES)
    assert torch.equal(module.vary(IMAGES, 1.0, seeds=SEEDS), module.sample(3, seeds=SEEDS))
    half = module.vary(IMAGES, 0.5, seeds=SEEDS)
    torch.testing.assert_close(module.vary(IMAGES[1:2], 0.5, seeds=SEEDS[1:2]), half[1:2])
    with pytest.raises(ValueError, match="strength=2 lies outside"):
        module.vary(IMAGES, 2, seeds=SEEDS)
    with pytest.raises(ValueError, match="3 images need as many seeds, got 1"):
        module.vary(IMAGES, 0.5, seeds=[0])
    with pytest.raises(ValueError, match="trained without labels"):
        module.vary(IMAGES, 0.5, seeds=SEEDS, labels=torch.zeros(3, dtype=torch.long))


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_a_conditional_model_without_labels_does_what_it_was_trained_to(dropout: float) -> None:
    module = ddpm(network=unet(num_classes=2), label_dropout=dropout)
    told = torch.tensor([seed % 2 for seed in SEEDS])
    same = torch.equal(
        module.vary(IMAGES, 0.5, seeds=SEEDS), module.vary(IMAGES, 0.5, seeds=SEEDS, labels=told)
    )
    assert same == (dropout == 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"restorer": "magic"}, "unknown restorer 'magic'; known: ddnm, repaint"),
        ({"resamples": 0}, "resamples=0"),
        ({"data_std": 0.0}, "data_std=0.0"),
        ({"scale": -1.0}, "scale=-1.0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Restoring(**settings)


def test_a_chain_of_few_steps_takes_all_of_them() -> None:
    assert len(ddpm(schedule=VariancePreserving(20, "cosine")).restoring_grid()) == 21
    assert len(model().restoring_grid()) == 5
    with pytest.raises(ValueError, match="unknown spacing 'wide'"):
        ddpm(restoring=Restoring(spacing="wide"))
