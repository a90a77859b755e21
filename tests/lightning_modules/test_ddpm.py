from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from datamodules.base import Batch
from functional.noise_schedule import LinearPath, VarianceExploding, VariancePreserving
from functional.sampling import Sampling
from lightning_modules.ddpm import DDPM
from tests.lightning_modules.tiny import SIZE, ddpm


def draw(n: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 1, SIZE, SIZE, generator=generator)


# The loss


def test_loss_of_eps_is_l_simple_of_ho_2020() -> None:
    module = ddpm(schedule=VariancePreserving(1000), prediction="eps")
    x0, eps, t = draw(3), draw(3, 1), torch.tensor([1.0, 300.0, 1000.0])
    wanted = []
    for image, noise, step in zip(x0, eps, t.int().tolist(), strict=True):
        betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
        bar = float(torch.prod(1 - betas[:step]))
        noisy = bar**0.5 * image + (1 - bar) ** 0.5 * noise
        output = module.network(noisy[None], torch.tensor([step - 1.0]))[0]
        wanted.append((noise - output).square().mean())
    torch.testing.assert_close(module.model.loss(x0, eps, t), torch.stack(wanted))


def test_loss_of_velocity_is_that_of_flow_matching() -> None:
    module = ddpm()
    x0, eps, t = draw(3), draw(3, 1), torch.tensor([0.01, 0.5, 1.0])
    at = t.view(-1, 1, 1, 1)
    output = module.network((1 - at) * x0 + at * eps, 1000 * t)
    wanted = (output - (eps - x0)).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(module.model.loss(x0, eps, t), wanted)


def test_loss_of_edm_is_its_weighted_denoising_error() -> None:
    module = ddpm(schedule=VarianceExploding(), prediction="edm")
    x0, eps, sigma = draw(3), draw(3, 1), torch.tensor([0.02, 0.5, 40.0])
    s = sigma.view(-1, 1, 1, 1)
    noisy, total = x0 + s * eps, s**2 + 0.25
    output = module.network(noisy / total.sqrt(), 1000 * sigma.log() / 4)
    denoised = 0.25 / total * noisy + s * 0.5 / total.sqrt() * output
    weight = (total / (s * 0.5) ** 2).flatten()
    wanted = weight * (denoised - x0).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(module.model.loss(x0, eps, sigma), wanted, rtol=1e-4, atol=1e-5)


def test_clipped_loss_is_that_of_the_clipped_estimate_and_pulls_back_inside_the_range() -> None:
    module = ddpm(sampling=Sampling("heun", 3, "trailing", clip=True), clipped_loss=True)
    x0, eps = draw(3).clamp(-1, 1), draw(3, 1)
    x0[0] = 0.0  # one image whose pixels lie all inside the range
    t = torch.tensor([0.9, 0.3, 0.9])
    at = t.view(-1, 1, 1, 1)
    noisy = (1 - at) * x0 + at * eps
    output = module.network(noisy, 1000 * t)
    estimate = noisy - at * output
    assert (estimate.abs() > 1).any(dim=(1, 2, 3)).all()
    at_an_end = (x0.abs() == 1) & (estimate.abs() > 1) & (x0.sign() == estimate.sign())
    assert at_an_end[1:].any()
    error = torch.where(at_an_end, 0, (estimate - x0) / at).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(module.model.loss(x0, eps, t), error)
    plain = ddpm().model.loss(x0, eps, t)
    torch.testing.assert_close(error[0], plain[0])
    assert (error <= plain + 1e-6).all() and error[2] < plain[2]


def logged(module: DDPM, batch: Batch) -> tuple[float, int]:
    seen: list[tuple[float, int]] = []

    def log(name: str, value: Tensor, *, batch_size: int, sync_dist: bool) -> None:
        assert name == "val/loss" and sync_dist
        seen.append((float(value), batch_size))

    module.log = log  # type: ignore[assignment,method-assign]
    with torch.no_grad():
        module.validation_step(batch, 0)
    return seen[0]


@pytest.mark.parametrize("schedule", [LinearPath(), VariancePreserving(1000)])
def test_validation_loss_is_the_same_for_any_split_into_batches_and_any_epoch(
    schedule: Any,
) -> None:
    module = ddpm(schedule=schedule, prediction="v")
    images, indices = draw(12), torch.arange(100, 112)
    labels = torch.full((12,), -1)

    def mean(*sizes: int) -> float:
        torch.rand(7)  # another epoch leaves the global generator elsewhere
        parts = zip(*(t.split(sizes) for t in (images, labels, indices)), strict=True)
        losses = [logged(module, Batch(*part)) for part in parts]
        return sum(loss * n for loss, n in losses) / 12

    whole = mean(12)
    assert mean(12) == whole
    assert mean(5, 7) == pytest.approx(whole, rel=1e-5)
    assert mean(1, 3, 8) == pytest.approx(whole, rel=1e-5)


def test_validation_spreads_over_all_times() -> None:
    module, seen = ddpm(), []

    def spy(x0: Tensor, eps: Tensor, t: Tensor, labels: Any) -> Tensor:
        seen.append(t)
        return torch.zeros(len(x0))

    module.model.loss = spy  # type: ignore[method-assign]
    logged(module, Batch(draw(100), torch.zeros(100).long(), torch.arange(100)))
    share = torch.histc(seen[0].float(), bins=10, min=0, max=1)
    assert (share >= 8).all() and (share <= 12).all()


# Settings


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prediction": "eps"}, "eps says nothing"),
        ({"prediction": "edm"}, "'edm' does not go with LinearPath"),
        ({"prediction": "v", "schedule": VarianceExploding()}, "'v' does not go with"),
        ({"prediction": "noise"}, "'noise'; known: eps, x0, v, velocity, edm"),
        ({"clipped_loss": True}, "set sampling.clip=True"),
        ({"decay": "exponential"}, "'exponential'; known"),
        (
            {"schedule": VariancePreserving(10), "sampling": Sampling("ddim", 50, "leading", True)},
            "steps is 50, expected 1 to 10",
        ),
        ({"sampling": Sampling("ddim", 5, "even", True)}, "'even'; known: trailing"),
    ],
)
def test_parts_that_do_not_go_together_are_refused_before_training(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        ddpm(**changes)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v", "velocity"])
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_every_prediction_goes_with_the_markov_chain(prediction: str, schedule: str) -> None:
    module = ddpm(
        schedule=VariancePreserving(1000, schedule),
        prediction=prediction,
        sampling=Sampling("ddim", 3, "trailing", clip=True),
    )
    assert torch.isfinite(module.sample(2, seeds=[1, 2])).all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sampler": "heunn"}, "'heunn'; known: ancestral, ddim, euler, heun, "),
        ({"eta": 0.5}, "eta=0.5 with sampler heun"),
        ({"sampler": "ddim", "churn": 40.0}, "churn=40.0 with sampler ddim; .* with heun"),
        ({"churn": -1.0}, "churn=-1.0"),
        ({"sampler": "ddim", "eta": -1.0}, "eta=-1.0"),
        ({"sampler": "ancestral", "variance": "learned"}, "'learned'; known: fixed_small"),
    ],
)
def test_wrong_settings_of_sampling_are_refused_before_training(
    settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        Sampling(**{"sampler": "heun", "steps": 5, "spacing": "trailing", "clip": True, **settings})


def test_the_record_of_sampling_says_what_decides_the_images() -> None:
    heun = ddpm(sampling=Sampling("heun", 13, "trailing", clip=False))
    assert heun.sampling_record() == {
        "sampler": "heun, unclipped",
        "spacing": "trailing",
        "nfe": 25,
        "eta": None,
        "guidance": None,
        "prediction": "velocity",
    }
    churned = Sampling("heun", 18, "karras", True, churn=40, churn_min=0.05, churn_noise=1.003)
    assert churned.record()["sampler"] == "heun, churn 40 in 0.05 to inf, noise 1.003"
    noisy = ddpm(sampling=Sampling("ddim", 50, "leading", clip=True, eta=0.3))
    assert noisy.sampling_record()["eta"] == 0.3
    assert noisy.sampling_record()["nfe"] == 50


def test_learning_rate_follows_steps_and_the_share_of_the_budget() -> None:
    module = ddpm(warmup_steps=4, decay="cosine")
    built = module.configure_optimizers()
    optimizer, scheduler = built["optimizer"], built["lr_scheduler"]["scheduler"]
    assert built["lr_scheduler"]["interval"] == "step"
    rates = []
    # Batches that are accumulated are no steps of the optimiser.
    for batches, progress in ((4, 0.0), (8, 0.5), (12, 1.0)):
        module.steps, module.progress = batches, progress
        optimizer.step()
        scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"] / 1e-3)
    assert rates == pytest.approx([0.5, 0.375, 0.0])


def test_operations_of_a_pass_are_those_of_the_network() -> None:
    module = ddpm()
    assert module.forward_flops() == module.count_flops(
        module.network, (1, SIZE, SIZE), torch.ones(1)
    )
    assert module.forward_flops() > 0
