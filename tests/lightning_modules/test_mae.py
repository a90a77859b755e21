from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from datamodules.base import Batch
from functional.patches import hidden_patches
from lightning_modules.mae import MAE
from tests.lightning_modules.tiny import SIZE, data, trainer
from tests.lightning_modules.tiny_mae import PATCHES, batch, images, mae, network
from tests.resuming import assert_resuming_is_exact


class Seen(MAE):
    """Keeps the masks that losses were taken under."""

    visible: list[Tensor]

    def loss(self, predicted: Tensor, images: Tensor, visible: Tensor) -> Tensor:
        self.__dict__.setdefault("visible", []).append(visible)
        return super().loss(predicted, images, visible)


def attached(module: MAE, rank: int = 0, world_size: int = 1, accumulate: int = 1) -> MAE:
    """``module`` as one of ``world_size`` processes that share batches of 8 images."""
    module._trainer = SimpleNamespace(  # type: ignore[assignment]
        world_size=world_size,
        global_rank=rank,
        datamodule=SimpleNamespace(seed=0, batch_size=8),
        accumulate_grad_batches=accumulate,
        strategy=SimpleNamespace(global_rank=rank),
    )
    module.log = lambda *args, **kwargs: None  # type: ignore[assignment,method-assign]
    return module


def masks_of_step(step: int, rank: int = 0, n: int = 4, **changes: Any) -> Tensor:
    """Visible places of a training step, as that process draws them after whatever came before."""
    module: Any = attached(mae(**changes), rank, 2)
    module.__class__ = Seen
    torch.seed()
    module.steps = step - 1
    module.on_train_batch_start(batch(n), 0)
    module.training_step(batch(n), 0)
    return hidden_patches(module.visible[0], PATCHES)


# Masks


def test_masks_differ_by_image_step_and_rank_and_come_again() -> None:
    masks = masks_of_step(5)
    assert len({tuple(row) for row in masks.tolist()}) == 4
    assert torch.equal(masks_of_step(5), masks)
    for other in (masks_of_step(6), masks_of_step(5, rank=1)):
        assert not torch.equal(other, masks)


def test_a_range_of_ratios_gives_each_step_one_of_its_own_that_comes_again() -> None:
    counts = [
        int(masks_of_step(k, ratio_range=[0.5, 1.0]).sum(dim=1).unique()) for k in range(1, 9)
    ]
    assert counts == [
        int(masks_of_step(k, ratio_range=[0.5, 1.0]).sum(dim=1).unique()) for k in range(1, 9)
    ]
    assert len(set(counts)) > 2 and min(counts) >= 8 and max(counts) <= 15


def test_evaluation_keeps_the_one_ratio_where_training_varies_it() -> None:
    module: Any = attached(mae(ratio_range=[0.0, 0.5]))
    module.__class__ = Seen
    module.validation_step(batch(4), 0)
    assert module.visible[0].shape == (4, 4)


def test_repeated_sampling_gives_each_image_masks_of_its_own() -> None:
    masks = masks_of_step(1, n=2, repeats=3)
    assert len({tuple(row) for row in masks.tolist()}) == 6


def test_repeated_sampling_is_the_mean_over_an_image_s_masks() -> None:
    module: Any = attached(mae(repeats=3))
    module.__class__ = Seen
    torch.manual_seed(0)
    loss = module.training_step(batch(2), 0)
    visible = module.visible[0]
    single = [module.loss(module.network(x, v), x, v) for x, v in pairs(batch(2).images, visible)]
    torch.testing.assert_close(loss, torch.cat(single).mean())


def pairs(x: Tensor, visible: Tensor) -> list[tuple[Tensor, Tensor]]:
    return [(x[i // 3 : i // 3 + 1], visible[i : i + 1]) for i in range(6)]


def test_masks_of_evaluation_are_functions_of_the_image_s_index() -> None:
    def evaluated(chosen: list[int]) -> Tensor:
        module: Any = attached(mae())
        module.__class__ = Seen
        torch.seed()
        module.validation_step(Batch(*(part[chosen] for part in batch(4))), 0)
        return module.visible[0]

    everything = evaluated([0, 1, 2, 3])
    assert torch.equal(evaluated([2, 0]), everything[[2, 0]])
    assert not torch.equal(everything[0].sort().values, everything[1].sort().values)


# Loss and targets


@pytest.mark.parametrize("loss_on_all", [False, True])
@pytest.mark.parametrize("normalised", [False, True])
def test_the_loss_is_the_error_on_the_patches_that_count(
    normalised: bool, loss_on_all: bool
) -> None:
    module = mae(normalised_targets=normalised, loss_on_all=loss_on_all)
    x, visible = images(1), torch.tensor([[3, 5]])
    predicted = torch.randn(1, PATCHES, 4)
    errors = []
    for i in range(PATCHES):
        if i in (3, 5) and not loss_on_all:
            continue
        row, column = 2 * (i // 4), 2 * (i % 4)
        target = x[0, 0, row : row + 2, column : column + 2].flatten()
        if normalised:
            target = (target - target.mean()) / (target.var() + 1e-6).sqrt()
        errors.append((predicted[0, i] - target).square().mean())
    wanted = torch.stack(errors).mean()
    torch.testing.assert_close(module.loss(predicted, x, visible), wanted[None])


def test_a_constant_image_has_a_finite_loss_under_normalised_targets() -> None:
    module = attached(mae(normalised_targets=True))
    flat = Batch(torch.full((4, 1, SIZE, SIZE), -1.0), torch.zeros(4).long(), torch.arange(4))
    loss = module.training_step(flat, 0)
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in module.parameters() if p.grad is not None)


# The optimiser


@pytest.mark.parametrize(
    ("accumulate", "base", "scale"), [(1, 256, 8 / 256), (3, 4, 6), (3, None, 1)]
)
def test_the_learning_rate_follows_the_global_batch(
    accumulate: int, base: int | None, scale: float
) -> None:
    """8 images are all processes', so two of them change nothing; accumulated batches count."""
    for world_size in (1, 2):
        module = attached(mae(base_batch=base), world_size=world_size, accumulate=accumulate)
        groups = module.configure_optimizers()["optimizer"].param_groups
        assert [group["lr"] for group in groups] == pytest.approx([scale * 1e-3] * 2)
        assert [group["initial_lr"] for group in groups] == pytest.approx([scale * 1e-3] * 2)


def test_only_matrices_decay_and_fixed_positions_are_not_optimised() -> None:
    module = attached(mae())
    decayed, exempt = module.configure_optimizers()["optimizer"].param_groups
    assert (decayed["weight_decay"], exempt["weight_decay"]) == (0.05, 0.0)
    shapes = {name: p.ndim for name, p in module.network.named_parameters()}
    assert all(shapes[name] in (2, 4) for name in decayed["param_names"])
    assert {"encoder.cls_token", "decoder.mask_token"} < set(exempt["param_names"])
    left_out = shapes.keys() - set(decayed["param_names"]) - set(exempt["param_names"])
    assert left_out == {"encoder.pos_embed", "decoder.pos_embed"}


# A run


def test_it_learns_and_writes_an_encoder_that_timm_takes(tmp_path: Path) -> None:
    module = mae(base_batch=None, repeats=2)
    run = trainer(tmp_path, [], steps=60, val_check_interval=20)
    run.fit(module, datamodule=data())
    assert (module.steps, module.images_seen) == (60, 480)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses = [row["val/loss"] for row in rows if "val/loss" in row]
    ratios = [row["val/masked_psnr"] for row in rows if "val/masked_psnr" in row]
    assert losses[-1] < 0.9 * losses[0] and ratios[-1] > ratios[0]
    path = tmp_path / "encoder.safetensors"
    with safe_open(path, "pt") as file:
        about = {name: json.loads(value) for name, value in file.metadata().items()}
    assert about["mean"] == about["std"] == [0.5]
    theirs = timm.create_model(about["model"], num_classes=0, **about["arguments"]).eval()
    theirs.load_state_dict(load_file(path), strict=True)
    module.eval()
    torch.testing.assert_close(theirs(images()), module.network.features(images(), "token"))


def test_a_resumed_run_equals_one_never_interrupted_to_the_bit(tmp_path: Path) -> None:
    rows = assert_resuming_is_exact(lambda: mae(ratio_range=[0.5, 1.0]), tmp_path)
    assert sum("val/masked_psnr" in row for row in rows) == 3


def test_a_run_begins_from_weights_and_a_resumed_one_does_not_need_them(tmp_path: Path) -> None:
    source, path = mae(network=network()), tmp_path / "released.safetensors"
    torch.nn.init.normal_(source.network.encoder.norm.weight)
    save_file(source.network.encoder_state(), path)
    still = partial(torch.optim.SGD, lr=0.0)
    module = mae(initial_weights=str(path), optimizer=still)
    module.begin()
    run = trainer(tmp_path / "run", [], steps=2)
    run.fit(module, datamodule=data())
    wanted = source.network.encoder.norm.weight
    assert torch.equal(module.network.encoder.norm.weight, wanted)
    run.save_checkpoint(tmp_path / "last.ckpt")
    path.unlink()
    resumed = mae(initial_weights=str(path), optimizer=still)
    trainer(tmp_path / "run", [], steps=4).fit(
        resumed, datamodule=data(), ckpt_path=tmp_path / "last.ckpt", weights_only=True
    )
    assert torch.equal(resumed.network.encoder.norm.weight, wanted)
    with pytest.raises(FileNotFoundError, match=r"no weights at .*released.safetensors"):
        mae(initial_weights=str(path)).begin()


@pytest.mark.parametrize("content", [b"", b"no tensors"])
def test_a_file_that_holds_no_weights_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken.pth cannot be read as weights"):
        mae(initial_weights=str(path)).begin()
