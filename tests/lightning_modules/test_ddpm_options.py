"""Labels, self-conditioning, learnt variance and the other choices, wired into the module."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from datamodules.base import Batch
from functional.importance_times import ImportanceTimes
from functional.noise_schedule import VariancePreserving
from functional.objective import Objective
from functional.pairing import OptimalTransport
from functional.sampling import Sampling
from functional.seeding import image_seeds
from lightning_modules.ddpm import DDPM
from tests.lightning_modules.tiny import SIZE, ddpm, unet


def draw(n: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 1, SIZE, SIZE, generator=generator)


def step(module: DDPM, labels: Tensor | None = None, n: int = 16) -> Tensor:
    """The loss of one training batch, with what enters the network seen by its hooks."""
    module.log = lambda *_, **__: None  # type: ignore[method-assign]
    torch.manual_seed(5)
    labels = torch.zeros(n).long() if labels is None else labels
    return module.training_step(Batch(draw(n), labels, torch.arange(n)), 0)


def given_to(module: DDPM) -> list[tuple[Tensor, ...]]:
    """Collects what the network is called with."""
    calls: list[tuple[Tensor, ...]] = []
    module.network.register_forward_pre_hook(lambda _, given: calls.append(given))
    return calls


CHAIN = VariancePreserving(50, "cosine")
LEARNT: dict[str, Any] = {
    "schedule": CHAIN,
    "prediction": "eps",
    "objective": Objective("hybrid", variance="learnt"),
    "sampling": Sampling("ancestral", 5, "trailing", True, variance="learnt"),
}


# Labels


def conditional(**changes: Any) -> DDPM:
    return ddpm(network=unet(num_classes=3), **changes)


def test_a_share_of_training_labels_is_left_out() -> None:
    module = conditional(label_dropout=0.25)
    calls = given_to(module)
    labels = torch.arange(3).repeat(200)
    step(module, labels, n=600)
    seen = calls[0][2]
    assert 0.18 < float((seen == 3).float().mean()) < 0.32
    assert torch.equal(seen[seen != 3], labels[seen != 3])


def test_a_label_decides_what_is_drawn_and_without_one_the_seed_does() -> None:
    module = conditional()
    one, other = (module.sample(2, seeds=[4, 5], labels=torch.tensor([0, k])) for k in (1, 2))
    torch.testing.assert_close(one[0], other[0])
    assert not torch.allclose(one[1], other[1], atol=1e-3)
    torch.testing.assert_close(module.sample(2, seeds=[3, 4]), module.sample(
        2, seeds=[3, 4], labels=torch.tensor([0, 1])
    ))  # fmt: skip
    with pytest.raises(ValueError, match="knows 0 to 2"):
        module.sample(1, seeds=[1], labels=torch.tensor([3]))


def test_no_label_is_a_label_of_its_own() -> None:
    module, x, t = conditional(), draw(2), torch.tensor(0.5, dtype=torch.float64)
    null = torch.full((2,), 3)
    torch.testing.assert_close(module.denoiser()(x, t), module.denoiser(null)(x, t))
    assert not torch.allclose(module.denoiser()(x, t), module.denoiser(null - 1)(x, t))


def test_validation_uses_the_labels_and_previews_show_the_classes() -> None:
    module = conditional(label_dropout=1.0)
    calls = given_to(module)
    module.log = lambda *_, **__: None  # type: ignore[method-assign]
    batch = Batch(draw(4), torch.tensor([0, 1, 2, 0]), torch.arange(4))
    module.validation_step(batch, 0)
    assert torch.equal(calls[0][2], batch.labels)
    rows = module.previews(batch)["classes"]
    assert rows.shape == (3, 8, 1, SIZE, SIZE)
    assert torch.equal(rows[1, 0], module.sample(24, seeds=image_seeds(1, range(8)) * 3,
                       labels=torch.arange(3).repeat_interleave(8))[8])  # fmt: skip


def test_an_unconditional_network_is_told_of_no_labels() -> None:
    module = ddpm()
    calls = given_to(module)
    step(module)
    assert len(calls[0]) == 2


# Self-conditioning


def self_conditioned(share: float = 0.5, **changes: Any) -> DDPM:
    return ddpm(network=unet(in_channels=2), self_conditioning=share, **changes)


def test_half_the_images_are_given_an_estimate_of_their_own_and_half_zeros() -> None:
    module = self_conditioned()
    calls = given_to(module)
    step(module)
    first, second = (call[0] for call in calls)
    assert len(first) == 8 and (first[:, 1] == 0).all()
    before = second[:, 1:]
    told = before.flatten(1).abs().amax(1) > 0
    assert int(told.sum()) == 8
    t = calls[1][1][told].double() / 1000
    wanted, _ = module.model.estimate(second[told][:, :1], t)
    torch.testing.assert_close(before[told], wanted, rtol=1e-4, atol=1e-5)


def test_no_gradient_flows_through_the_first_estimate() -> None:
    module = self_conditioned(1.0)
    loss = step(module)
    calls: list[Tensor] = []
    module.network.register_forward_pre_hook(lambda _, given: calls.append(given[0]))
    step(module)
    assert not calls[1].requires_grad
    loss.backward()


def test_sampling_hands_each_estimate_to_the_next_call_and_starts_afresh() -> None:
    module = self_conditioned()
    calls = given_to(module)
    seen: list[Tensor] = []
    one = module.sample(2, seeds=[1, 2], trace=lambda k, x_t, x0: seen.append(x0))
    before = [call[0][:, 1:] for call in calls]
    assert (before[0] == 0).all()
    # Heun evaluates twice a step; the trace sees the first of the two.
    torch.testing.assert_close(before[1], seen[0])
    torch.testing.assert_close(before[3], seen[1])
    assert torch.equal(module.sample(2, seeds=[1, 2]), one)


# The variance, the noise, the times


def test_a_learnt_variance_decides_the_noise_of_ancestral_sampling() -> None:
    module = ddpm(network=unet(out_channels=2), **LEARNT)
    one = module.sample(2, seeds=[1, 2])
    assert one.shape == (2, 1, SIZE, SIZE)
    with torch.no_grad():
        module.network.head.bias[1] += 2.0
    assert not torch.allclose(module.sample(2, seeds=[1, 2]), one, atol=1e-3)
    assert module.sampling_record()["sampler"] == "ancestral, learnt"


def test_a_learnt_variance_leaves_deterministic_samplers_as_they_are() -> None:
    settings = {**LEARNT, "sampling": Sampling("ddim", 5, "trailing", True)}
    module = ddpm(network=unet(out_channels=2), **settings)
    one = module.sample(2, seeds=[1, 2])
    with torch.no_grad():
        module.network.head.bias[1] += 2.0
    torch.testing.assert_close(module.sample(2, seeds=[1, 2]), one)


def test_offset_noise_is_that_of_training_and_of_sampling() -> None:
    plain, shifted = ddpm(), ddpm(offset_noise=5.0)
    calls = [given_to(module) for module in (plain, shifted)]
    for module in (plain, shifted):
        step(module)
        module.sample(4, seeds=[1, 2, 3, 4])
    spread = [
        (float(seen[0][0].mean((2, 3)).std()), float(seen[1][0].mean((2, 3)).std()))
        for seen in calls
    ]
    assert spread[1][0] > 5 * spread[0][0] and spread[1][1] > 5 * spread[0][1]


def test_pairing_reorders_the_noise_of_a_batch_alone() -> None:
    plain, paired = ddpm(), ddpm(pairing=OptimalTransport())
    noise = []
    for module in (plain, paired):
        calls = given_to(module)
        step(module)
        x_t, t = calls[0][0], (calls[0][1] / 1000).view(-1, 1, 1, 1)
        noise.append((x_t - (1 - t) * draw(16)) / t)
    distance = [float((draw(16) - eps).square().sum()) for eps in noise]
    assert distance[1] < distance[0]
    assert float(noise[0].sum()) == pytest.approx(float(noise[1].sum()), rel=1e-2)


def test_importance_times_see_every_loss_and_weigh_the_mean() -> None:
    times = ImportanceTimes(50, history=1)
    module = ddpm(schedule=CHAIN, prediction="eps", times=times)
    for _ in range(200):
        if bool((times.counts >= 1).all()):
            break
        step(module)
        torch.manual_seed(int(times.counts.sum()))
        drawn = times.draw(16, CHAIN, torch.device("cpu"))
        losses = module.model.loss(draw(16), draw(16, 1), drawn.t)
        times.observe(drawn, losses)
    assert int(times.counts.sum()) > 50
    assert "times.losses" in module.state_dict() and "times.counts" in module.state_dict()
    torch.manual_seed(5)
    drawn = times.draw(16, CHAIN, torch.device("cpu"))
    assert drawn.weight is not None and drawn.weight.unique().numel() > 1
    losses = module.model.loss(draw(16), torch.randn(16, 1, SIZE, SIZE), drawn.t)
    wanted = (losses * drawn.weight).mean()
    torch.testing.assert_close(step(module), wanted.float())


# What is refused


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"label_dropout": 0.1}, "label_dropout=0.1 with a network without classes"),
        ({"label_dropout": 1.5}, "label_dropout=1.5 is no share"),
        ({"self_conditioning": 0.5}, r"in_channels=1, but with self-conditioning.* need 2"),
        ({"network": unet(in_channels=2)}, r"in_channels=2, but without self-cond.* need 1"),
        (LEARNT, r"out_channels=1, but with a learnt variance.* need 2"),
        ({"network": unet(out_channels=2)}, "out_channels=2, but without a learnt variance"),
        ({"objective": Objective("bound")}, "which LinearPath has not"),
        (
            {"schedule": CHAIN, "prediction": "eps", "sampling": LEARNT["sampling"]},
            "the network learns none",
        ),
        (
            {
                "schedule": VariancePreserving(50, zero_terminal_snr=True),
                "prediction": "eps",
            },
            r"eps says nothing about the image where alpha is 0 \(t = 50",
        ),
        (
            {"schedule": CHAIN, "prediction": "v", "times": ImportanceTimes(7)},
            "7 bins do not divide the 50 steps",
        ),
    ],
)
def test_parts_that_do_not_go_together_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ddpm(**changes)


def test_a_learnt_variance_with_a_sampler_that_has_none_is_refused() -> None:
    with pytest.raises(ValueError, match="'learnt' with sampler heun, which has no variance"):
        Sampling("heun", 5, "trailing", True, variance="learnt")


def test_data_without_the_networks_classes_are_refused() -> None:
    module = conditional()
    for classes in (0, 10):
        module._trainer = type("T", (), {"datamodule": type("D", (), {"num_classes": classes})})()  # type: ignore[assignment]
        with pytest.raises(ValueError, match=f"num_classes=3, but the data has {classes}"):
            module.setup("fit")
