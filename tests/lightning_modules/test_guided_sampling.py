"""Classifier-free guidance in the sampler's denoiser."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from functional.noise_schedule import VariancePreserving
from functional.objective import Objective
from functional.sampling import Sampling
from lightning_modules.ddpm import DDPM
from tests.lightning_modules.tiny import SIZE, ddpm, unet

T = torch.tensor(0.6, dtype=torch.float64)


def conditional(**changes: Any) -> DDPM:
    sampling = {"sampler": "ddim", "steps": 4, "spacing": "trailing", "clip": False}
    sampling |= {key: changes.pop(key) for key in list(changes) if key.startswith(("guid", "clip"))}
    network = changes.pop("network", unet(num_classes=3))
    return ddpm(network=network, sampling=Sampling(**sampling), label_dropout=0.1, **changes)


def noisy() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(4, 1, SIZE, SIZE, generator=generator), torch.tensor([0, 1, 2, 2])


@torch.no_grad()
def test_the_estimate_is_pushed_on_from_the_one_without_a_label() -> None:
    x, labels = noisy()
    module = conditional(guidance=3.0)
    with_label, _ = module.model.estimate(x, T, labels)
    without, _ = module.model.estimate(x, T)
    assert (with_label - without).abs().mean() > 1e-3
    got = module.denoiser(labels)(x, T)
    torch.testing.assert_close(got, without + 3 * (with_label - without), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_scale_of_1_is_the_conditional_model_at_one_evaluation() -> None:
    module, plain = conditional(guidance=1.0), conditional()
    images = [m.sample(4, seeds=[1, 2, 3, 4], labels=noisy()[1]) for m in (module, plain)]
    assert torch.equal(*images)
    assert module.sampling_record()["nfe"] == 4
    assert module.sampling_record()["guidance"] is None


@torch.no_grad()
def test_estimates_are_clipped_after_guidance_and_rescaling_takes_the_spread_back() -> None:
    x, labels = noisy()
    clipped = conditional(guidance=8.0, clip=True).denoiser(labels)(x, T)
    free = conditional(guidance=8.0).denoiser(labels)(x, T)
    assert free.abs().max() > 1
    torch.testing.assert_close(clipped, free.clamp(-1, 1))
    plain = conditional().denoiser(labels)(x, T).std((1, 2, 3))
    rescaled = conditional(guidance=8.0, guidance_rescale=1.0).denoiser(labels)(x, T)
    torch.testing.assert_close(rescaled.std((1, 2, 3)), plain, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_learnt_variance_is_that_of_the_label() -> None:
    x, labels = noisy()
    module = conditional(
        guidance=2.0, network=unet(num_classes=3, out_channels=2), prediction="eps",
        schedule=VariancePreserving(10), objective=Objective("hybrid", variance="learnt"),
    )  # fmt: skip
    t = torch.tensor(6.0, dtype=torch.float64)
    _, wanted = module.model.estimate(x, t, labels)
    _, got = module.denoiser(labels).with_variance(x, t)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


def test_the_record_counts_both_evaluations() -> None:
    record = conditional(guidance=2.0, guidance_rescale=0.7).sampling_record()
    assert (record["guidance"], record["nfe"]) == (2.0, 8)
    assert record["sampler"] == "ddim, guidance rescale 0.7, unclipped"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"label_dropout": 0.0}, "sampling.guidance=2.0 .*method.label_dropout=0.1"),
        ({"network": unet(), "label_dropout": 0.0}, "train with method.network.num_classes"),
    ],
)
def test_guidance_of_a_model_that_knows_no_absence_of_labels_is_refused(
    changes: dict[str, Any], words: str
) -> None:
    sampling = Sampling("ddim", 4, "trailing", clip=False, guidance=2.0)
    with pytest.raises(ValueError, match=words):
        ddpm(**{"network": unet(num_classes=3), "sampling": sampling, **changes})


@pytest.mark.parametrize("wrong", [{"guidance": -1.0}, {"guidance_rescale": 1.5}])
def test_scales_that_are_none_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected 0 or more, and 0 to 1"):
        Sampling("ddim", 4, "trailing", clip=False, **wrong)
