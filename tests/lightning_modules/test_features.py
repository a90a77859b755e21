"""What probes read of a diffusion model and of a GAN."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from functional.noise_schedule import (
    LinearPath,
    NoiseSchedule,
    VarianceExploding,
    VariancePreserving,
)
from lightning_modules.base import ImageModule
from lightning_modules.gan import GAN
from networks.dcgan import Discriminator
from tests.lightning_modules.test_gan import Generator, gan
from tests.lightning_modules.tiny import SIZE, ddpm, unet
from tests.lightning_modules.tiny_dae import conv, dae
from tests.lightning_modules.tiny_mae import images, mae
from tests.lightning_modules.tiny_probe import fit, probe


def dcgan(classes: int = 0) -> GAN:
    torch.manual_seed(0)
    discriminator = Discriminator(1, SIZE, width=4, num_classes=classes)
    discriminator.features(images(16))  # moves the statistics of its batch norm
    return gan(generator=Generator(classes), discriminator=discriminator).eval()


def given(network: nn.Module) -> list[tuple[Tensor, ...]]:
    """What ``network.features`` is called with from now on."""
    calls, features = [], network.features

    def keep(*inputs: Tensor, block: int) -> Tensor:
        calls.append(inputs)
        return features(*inputs, block=block)  # type: ignore[operator,no-any-return]

    network.__dict__["features"] = keep
    return calls


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (ddpm, {}),
        (ddpm, {"feature_noise": 2.0, "feature_block": 2}),
        (dcgan, {}),
        (dcgan, {"classes": 2}),
    ],
)
def test_features_are_a_function_of_the_image_alone(
    make: Callable[..., ImageModule], settings: dict[str, Any]
) -> None:
    module, x = make(**settings), images(5)
    together = module.features(x)
    torch.seed()
    assert torch.equal(module.features(x), together)
    torch.testing.assert_close(module.features(x[3:4]), together[3:4])
    assert together.dtype == torch.float32 and not together.requires_grad
    assert (together.std(dim=0) > 1e-5).any()


@pytest.mark.parametrize(
    ("schedule", "prediction", "scale"),
    [
        (LinearPath(), "velocity", 1 / 1.5),
        (VariancePreserving(1000), "eps", 1 / 1.25**0.5),
        (VarianceExploding(), "edm", 1 / (0.5**2 + 0.5**2) ** 0.5),
    ],
)
def test_features_are_read_at_the_noise_that_is_asked_for(
    schedule: NoiseSchedule, prediction: str, scale: float
) -> None:
    """The network is given scale * (image + 0.5 * noise), the noise of every image the same."""
    module, x = ddpm(schedule=schedule, prediction=prediction, feature_noise=0.5), images()
    calls = given(module.network)
    module.features(x)
    module.features(0 * x)
    noise = calls[1][0]
    torch.testing.assert_close(calls[0][0] - noise, scale * x, rtol=1e-2, atol=1e-2)
    assert float(noise[0].std()) == pytest.approx(0.5 * scale, rel=0.25)
    assert torch.equal(noise, noise[:1].expand_as(noise))
    assert len({float(t) for t in calls[0][1]}) == 1


def test_a_conditional_model_is_read_without_a_label() -> None:
    module = ddpm(network=unet(num_classes=2))
    calls = given(module.network)
    module.features(images())
    assert calls[0][2].tolist() == [2] * 4


def test_features_of_d_come_before_its_last_layer() -> None:
    module = dcgan()
    head: Any = module.discriminator.head
    pooled = []
    head.register_forward_pre_hook(lambda _, inputs: pooled.append(inputs[1]))
    module.discriminator(images())
    assert torch.equal(module.features(images()), pooled[0])


@pytest.mark.parametrize("make", [ddpm, dcgan, lambda: dae(network=conv(), conditional=False)])
def test_a_run_of_any_method_with_features_is_probed(
    make: Callable[..., ImageModule], tmp_path: Path
) -> None:
    module = probe(make())
    made, split = fit(module, tmp_path)
    made.test(module, datamodule=split, verbose=False)
    assert len(module.scores) == 4
    assert all(0 <= share <= 1 for share in module.scores.values())


def test_a_probe_chooses_how_features_are_read() -> None:
    read = {"feature_noise": 1.5, "feature_block": 1}
    module = probe(ddpm(), feature_settings=read)
    wanted = ddpm(**read).features(images())
    assert module.untrained is not None
    for model in (module, module.untrained):
        assert torch.equal(model.features(images()), wanted)
    token = mae(pooling="token").features(images())
    assert torch.equal(probe(feature_settings={"pooling": "token"}).features(images()), token)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"feature_noise": 0.0}, r"feature_noise=0.0.* above 0"),
        ({"feature_block": 3}, r"feature_block=3.* to 2 blocks"),
        ({"pooling": "mean"}, r"pooling=mean: DDPM of runs/some has the settings: feature_noise"),
    ],
)
def test_features_that_there_are_not_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        probe(ddpm(), feature_settings=settings)
    if "pooling" not in settings:
        with pytest.raises(ValueError, match=words):
            ddpm(**settings)


def test_a_network_without_features_takes_them_from_its_method() -> None:
    assert "features" in ddpm().capabilities & dcgan().capabilities
    assert "features" not in ddpm(network=nn.Conv2d(1, 1, 1)).capabilities | gan().capabilities
