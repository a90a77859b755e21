from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from callbacks.checkpoints import Checkpoints
from callbacks.ema import EMA
from callbacks.run_record import read_rows
from datamodules.base import Batch
from functional.corruption import Composition, Gaussian, Masking, SaltAndPepper
from functional.degradation import Grey
from functional.images import to_float
from functional.operators import Operator, noise_level
from lightning_modules.dae import DAE
from networks.autoencoder import MLPAutoencoder
from tests.lightning_modules.tiny import SIZE, data, trainer, unet
from tests.lightning_modules.tiny_dae import WALKBACK, batch, conv, dae, images, sampling


class Seen(DAE):
    """Keeps what losses were taken of."""

    targets: list[Tensor]
    operators: list[Any]

    def loss(self, output: Tensor, clean: Tensor, operator: Operator) -> Tensor:
        self.__dict__.setdefault("targets", []).append(clean)
        self.__dict__.setdefault("operators", []).append(operator)
        return super().loss(output, clean, operator)


def attached(module: DAE, rank: int = 0, world_size: int = 1) -> Any:
    """``module`` as one of ``world_size`` processes, keeping what it saw."""
    module.__class__ = Seen
    module._trainer = SimpleNamespace(  # type: ignore[assignment]
        world_size=world_size,
        global_rank=rank,
        datamodule=SimpleNamespace(seed=0),
        strategy=SimpleNamespace(global_rank=rank),
    )
    module.log = lambda *args, **kwargs: None  # type: ignore[assignment,method-assign]
    return module


def noise_of_step(step: int, rank: int = 0) -> Tensor:
    module = attached(dae(), rank, 2)
    torch.seed()
    module.steps = step - 1
    module.on_train_batch_start(batch(), 0)
    module.training_step(batch(), 0)
    return module.operators[0].noise


# Targets and corruption


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"corruption": Masking(0.5), "conditional": False},
        {**WALKBACK, "corruption": SaltAndPepper(0.3)},
    ],
)
def test_the_target_is_the_clean_image(changes: dict[str, Any]) -> None:
    module = attached(dae(**changes))
    module.training_step(batch(), 0)
    module.validation_step(batch(), 0)
    assert len(module.targets) == module.walkback + 2
    assert all(torch.equal(target, images()) for target in module.targets)


def test_noise_differs_by_step_and_rank_and_comes_again() -> None:
    noise = noise_of_step(5)
    assert torch.equal(noise_of_step(5), noise)
    for other in (noise_of_step(6), noise_of_step(5, rank=1)):
        assert not torch.equal(other, noise)


def test_noise_of_evaluation_is_a_function_of_the_image_s_index_at_any_epoch_and_rank() -> None:
    def evaluated(chosen: list[int], rank: int = 0) -> Any:
        module = attached(dae(), rank, 2)
        torch.seed()
        module.validation_step(Batch(*(part[chosen] for part in batch(4))), 0)
        return module.operators[0]

    everything = evaluated([0, 1, 2, 3])
    again = evaluated([2, 0], rank=1)
    assert torch.equal(again.noise, everything.noise[[2, 0]])
    assert torch.equal(again.noise_level, everything.noise_level[[2, 0]])
    assert everything.noise_level.unique().numel() == 4


def test_without_noise_it_is_a_plain_autoencoder() -> None:
    module = attached(dae(network=conv(), corruption=Gaussian(0.0), conditional=False))
    loss = module.training_step(batch(), 0)
    plain = (module.network(images()) - images()).square().mean()
    torch.testing.assert_close(loss, plain)


# Losses


def test_emphasis_counts_corrupted_pixels_alone_where_beta_is_0() -> None:
    module = attached(
        dae(corruption=Masking(0.25), conditional=False, network=conv(), alpha=3.0, beta=0.0)
    )
    loss = module.training_step(batch(), 0)
    operator = module.operators[0]
    error = (module.network(operator.apply(images())) - images()).square()
    wanted = 3 * error[operator.mask].sum() / error.numel()
    torch.testing.assert_close(loss, wanted)


def test_a_conditional_model_weighs_levels_alike() -> None:
    """A network whose own output is off by one has a loss of one at every level."""
    module = dae()
    clean = images()
    for level in (0.01, 0.2, 0.8):
        operator = Gaussian(level).draw(lambda *shape: torch.ones(4, *shape), (1, SIZE, SIZE))
        noisy, std = operator.apply(clean), 2 * level
        c_out = std * 0.5 / math.sqrt(std**2 + 0.25)
        off_by_one = clean + c_out
        torch.testing.assert_close(module.loss(off_by_one, clean, operator), torch.ones(4))
        assert module(noisy, noise_level(operator)).shape == clean.shape


def test_walkback_corrupts_what_it_drew_and_walks_back_to_the_image() -> None:
    """The second corruption starts from a draw of P(x | corrupted x): black and white pixels."""
    module = attached(dae(**WALKBACK, corruption=Gaussian(0.0)))
    seen: list[Tensor] = []
    forward = module.network.forward
    module.network.forward = lambda x, t: (seen.append(x), forward(x, t))[1]
    module.training_step(batch(), 0)
    assert torch.equal(seen[0], images())
    assert len(seen) == 3 and all(set(x.unique().tolist()) == {-1.0, 1.0} for x in seen[1:])
    assert not torch.equal(seen[1], seen[2])


def test_no_gradient_passes_through_the_draws_of_walkback() -> None:
    module = attached(dae(**WALKBACK))
    torch.manual_seed(1)
    module.training_step(batch(), 0).backward()
    assert all(p.grad.isfinite().all() for p in module.network.parameters() if p.grad is not None)


# Against the closed form


class Linear(nn.Module):
    """x -> a x, of any level."""

    takes_level = False

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.zeros(()))

    def forward(self, images: Tensor, level: Tensor) -> Tensor:
        return self.a * images


@pytest.mark.parametrize("sigma", [0.1, 0.4])
def test_on_gaussian_data_the_linear_autoencoder_learns_the_closed_form_and_the_score(
    sigma: float,
) -> None:
    """On N(0, s^2) it is s^2 / (s^2 + std^2); (r(x) - x) / std^2 is the score of the noisy data."""
    s, std = 0.6, 2 * sigma
    module = attached(dae(network=Linear(), corruption=Gaussian(sigma), conditional=False))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.3)
    torch.manual_seed(0)
    for step in range(60):
        for group in optimizer.param_groups:
            group["lr"] = 0.3 / (1 + step / 10)
        clean = s * torch.randn(500, 1, SIZE, SIZE)
        loss = module.training_step(Batch(clean, torch.zeros(500).long(), torch.arange(500)), 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    wanted = s**2 / (s**2 + std**2)
    assert float(module.network.a) == pytest.approx(wanted, abs=0.01)
    x = torch.linspace(-1, 1, SIZE * SIZE).view(1, 1, SIZE, SIZE)
    score = (module(x) - x) / std**2
    torch.testing.assert_close(score, -x / (s**2 + std**2), rtol=0.08, atol=1e-3)


# A run


@pytest.mark.parametrize(
    "changes",
    [{}, {"network": "conv", "corruption": Masking(0.25), "conditional": False, "loss": "bce"}],
)
def test_it_learns_to_restore_better_than_the_corrupted_image(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    network = conv(width=8, code=16) if changes.get("network") else unet()
    module = dae(**{**changes, "network": network})
    trainer(tmp_path, [], steps=80, val_check_interval=40).fit(module, datamodule=data())
    assert (module.steps, module.images_seen) == (80, 640)
    rows = [row for row in read_rows(tmp_path / "metrics.jsonl") if "val/loss" in row]
    assert rows[-1]["val/loss"] < rows[0]["val/loss"]
    assert rows[-1]["val/psnr"] > rows[0]["val/psnr"]
    source = data()
    clean = to_float(next(source.uint8_batches("test", 16)))
    task = module.restore_task(module.restore_tasks[0])
    operator = task.operator(range(16), module.device)
    corrupted = operator.apply(clean)
    restored = module.eval().restore(corrupted, operator, seeds=range(16))
    assert (restored - clean).square().mean() < (corrupted - clean).square().mean()


@pytest.mark.parametrize("changes", [{}, WALKBACK], ids=["plain", "walkback"])
def test_a_resumed_run_equals_one_never_interrupted_to_the_bit(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    def fit(folder: str, steps: int, resume: bool = False) -> Tensor:
        module, last = dae(**changes), tmp_path / folder / "checkpoints" / "last.ckpt"
        trainer(tmp_path / folder, [EMA(0.9), Checkpoints(None, 60)], steps=steps).fit(
            module, data(), ckpt_path=last if resume else None, weights_only=True
        )
        return torch.cat([p.detach().flatten() for p in module.parameters()])

    whole = fit("whole", 8)
    assert not torch.equal(fit("cut", 3), whole)
    assert torch.equal(fit("cut", 8, resume=True), whole)


def test_the_best_checkpoint_is_the_one_of_lowest_loss(tmp_path: Path) -> None:
    keeper = Checkpoints("val/loss", 60)
    trainer(tmp_path, [keeper], steps=6).fit(dae(), data())
    losses = [r["val/loss"] for r in read_rows(tmp_path / "metrics.jsonl") if "val/loss" in r]
    assert len(losses) == 2 and keeper.best_score == pytest.approx(min(losses))


# Refusals

WITHOUT_LEVEL = MLPAutoencoder(1, SIZE, [4])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": "mae"}, "unknown loss 'mae'"),
        ({"alpha": -1.0}, "alpha=-1.0"),
        ({"walkback": -1}, "walkback=-1"),
        ({"walkback": 2}, "method.loss=mse is no density"),
        ({"corruption": Grey()}, "no colour.*data=shapes"),
        ({"corruption": Masking(0.5)}, "corruption is masking.*method.conditional=false"),
        ({"loss": "bce"}, "the loss bce.*method.conditional=false"),
        ({**WALKBACK, "conditional": True}, "walkback=2.*method.conditional=false"),
        ({"network": WITHOUT_LEVEL}, "MLPAutoencoder cannot be told a level"),
        (
            {"loss": "logistic", "conditional": False},
            "gives 1 x 8 x 8 for an image, but loss=logistic takes 2 x 8 x 8",
        ),
        ({"decay": "step"}, "unknown learning-rate decay"),
        (
            {"sampling": sampling("walkback")},
            "not trained for walkback.*experiment=quick/dae_walkback",
        ),
        (
            {"sampling": sampling("langevin"), "corruption": Gaussian(0.5)},
            "a range of levels above 0; train one by python train.py experiment=quick/dae_langevin",
        ),
        (
            {"sampling": sampling("langevin"), "conditional": False},
            "annealed Langevin needs a model that is told its level",
        ),
        ({"sampling": sampling("codes")}, "UNet has no codes to sample"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dae(**changes)


def test_a_composition_with_noise_may_be_conditional() -> None:
    corruption = Composition([Masking(0.25), Gaussian([0.1, 0.5])])
    module = attached(dae(corruption=corruption))
    assert module.training_step(batch(), 0).isfinite()
    assert module.restore_tasks == ()


def test_cross_entropy_with_targets_outside_the_range_is_refused() -> None:
    module = attached(dae(loss="bce", conditional=False))
    bright = Batch(1.5 * torch.ones(4, 1, SIZE, SIZE), torch.zeros(4).long(), torch.arange(4))
    with pytest.raises(ValueError, match=r"the targets reach from 1.5 to 1.5"):
        module.training_step(bright, 0)
