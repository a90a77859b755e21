"""The learnt score beside the true one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from callbacks.score_pictures import ScorePictures
from functional.corruption import Gaussian, Masking
from functional.kernel_score import kernel_score
from lightning_modules.base import ImageModule
from tests.callbacks.test_points import Thrower, roll
from tests.lightning_modules.tiny import data as images
from tests.lightning_modules.tiny import trainer
from tests.lightning_modules.tiny_dae import dae


class Knowing(Thrower):
    """Has the true score, times ``share``."""

    capabilities = frozenset({"score"})

    def __init__(self, share: float) -> None:
        super().__init__(honest=True)
        self.share = share

    def score(self, noisy: Tensor, level: Tensor) -> Tensor:
        return self.share * kernel_score(noisy, roll().points("train"), 2 * float(level[0]))


def pictures() -> ScorePictures:
    return ScorePictures([0.1, 0.3], n=40, arrows=3, seed=0)


def test_the_kernel_score_is_the_gradient_of_the_log_density() -> None:
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(30, 2, 1, 1, generator=generator, dtype=torch.float64)
    x = torch.randn(7, 2, 1, 1, generator=generator, dtype=torch.float64).requires_grad_()
    squares = (x[:, None] - data[None]).square().flatten(2).sum(2)
    torch.logsumexp(-squares / (2 * 0.4**2), dim=1).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(kernel_score(x.detach(), data, 0.4, chunk=2), x.grad)
    with pytest.raises(ValueError, match=r"std=0\.0"):
        kernel_score(data, data, 0.0)


@pytest.mark.parametrize(("share", "error"), [(1.0, 0.0), (0.0, 1.0), (0.5, 0.25)])
def test_the_error_is_the_share_of_the_square_that_is_missed(
    tmp_path: Path, share: float, error: float
) -> None:
    module = Knowing(share)
    trainer(tmp_path, [pictures()]).test(module, datamodule=roll(), verbose=False)
    assert module.scores == pytest.approx({"score/error-0.1": error, "score/error-0.3": error})
    with Image.open(tmp_path / "samples" / "score_000000000.png") as shown:
        assert shown.size == (26 + 2 * 200, 26 + 3 * 200)


def test_the_score_of_a_denoising_autoencoder_leads_to_its_estimate() -> None:
    module = dae().eval()
    noisy, level = torch.randn(3, *module.image_shape), torch.tensor([0.1, 0.3, 0.8])
    moved = noisy + (2 * level).view(-1, 1, 1, 1) ** 2 * module.score(noisy, level)
    torch.testing.assert_close(moved, module.estimate(noisy, level).detach(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {"corruption": Masking(0.5), "conditional": False},
        {"corruption": Gaussian(0.5, clip=True)},
        {"corruption": Gaussian([0.1, 0.5]), "conditional": False},
        {"loss": "l1"},
    ],
)
def test_what_is_not_trained_by_squared_error_of_known_noise_has_none(settings: Any) -> None:
    assert "score" in dae().capabilities
    assert "score" not in dae(**settings).capabilities


@pytest.mark.parametrize(
    ("module", "source"), [(Thrower(True), roll()), (dae(), images())], ids=["no score", "images"]
)
def test_others_are_left_alone(tmp_path: Path, module: ImageModule, source: Any) -> None:
    trainer(tmp_path, [pictures()]).test(module, datamodule=source, verbose=False)
    assert not module.scores.keys() & {"score/error-0.1"} and not (tmp_path / "samples").exists()


def test_settings_that_draw_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match=r"levels=\[0\]"):
        ScorePictures([0], 10, 3, 0)
