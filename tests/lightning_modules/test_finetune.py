"""Fine-tuning: which parameters learn, how fast, and from where."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from lightning_modules.finetune import Finetune
from tests.lightning_modules.tiny import ddpm
from tests.lightning_modules.tiny_mae import images, mae
from tests.lightning_modules.tiny_probe import finetune, fit
from tests.resuming import assert_resuming_is_exact


def state(module: Finetune) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def moved(module: Finetune, folder: Path) -> set[str]:
    """Train; give what has changed, without the prefixes of encoder and head."""
    before = state(module)
    fit(module, folder)
    after = module.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    return {name.removeprefix("encoder.network.encoder.") for name in changed}


HEAD = {"classifier.head.weight", "classifier.head.bias"}


def test_half_a_block_trains_exactly_the_mlp_and_the_head(tmp_path: Path) -> None:
    layers = {f"blocks.1.mlp.{fc}.{kind}" for fc in ("fc1", "fc2") for kind in ("weight", "bias")}
    assert moved(finetune(blocks=0.5), tmp_path) == layers | HEAD


def test_no_block_trains_the_head_alone(tmp_path: Path) -> None:
    assert moved(finetune(blocks=0), tmp_path) == HEAD


def test_everything_but_positions_and_decoder_is_trained_whole(tmp_path: Path) -> None:
    module = finetune()
    names = {name for name, _ in module.encoder.network.encoder.named_parameters()}
    # A token that mean pooling does not read reaches the patches through attention.
    assert moved(module, tmp_path) == names - {"pos_embed"} | HEAD


def test_rates_differ_from_layer_to_layer_by_the_decay(tmp_path: Path) -> None:
    module = finetune(decay="constant")
    made, _ = fit(module, tmp_path, steps=1)
    groups = made.optimizers[0].param_groups
    rates = {name: group["lr"] for group in groups for name in group["param_names"]}
    decays = {name: group["weight_decay"] for group in groups for name in group["param_names"]}
    assert rates["head.weight"] == rates["norm.weight"] == pytest.approx(1e-2)
    assert rates["blocks.1.mlp.fc1.weight"] == pytest.approx(5e-3)
    assert rates["blocks.0.mlp.fc1.weight"] == pytest.approx(2.5e-3)
    assert rates["patch_embed.proj.weight"] == rates["cls_token"] == pytest.approx(1.25e-3)
    assert decays["head.weight"] == 0.05 and decays["head.bias"] == decays["cls_token"] == 0


def test_the_learning_rate_grows_with_the_batch(tmp_path: Path) -> None:
    made, _ = fit(finetune(decay="constant", base_batch=4), tmp_path, steps=1)
    assert max(group["lr"] for group in made.optimizers[0].param_groups) == pytest.approx(2e-2)


def test_counting_operations_leaves_drop_path_at_work() -> None:
    module = finetune(drop_path=0.5).train()
    assert module.forward_flops() > 0
    assert module.classifier.encoder.blocks[1].drop_path1.training


@pytest.mark.parametrize(("run", "key"), [("runs/some", "finetune"), (None, "scratch")])
def test_scores_say_where_it_began_and_with_how_many_labels(
    run: str | None, key: str, tmp_path: Path
) -> None:
    module = finetune(run=run, labels=16)
    made, split = fit(module, tmp_path)
    made.test(module, datamodule=split, verbose=False)
    assert module.scores.keys() == {f"probe/{key}/top1@16"}
    module.eval()
    batches = list(split.test_dataloader())
    right = sum(int((module(b.images).argmax(1) == b.labels).sum()) for b in batches)
    assert module.scores[f"probe/{key}/top1@16"] == pytest.approx(right / 16)


def test_a_file_of_weights_counts_as_trained() -> None:
    model = mae(initial_weights="released.pth")
    assert finetune(model, run=None).kind == "finetune"


def test_resuming_is_exact_with_mixup_and_drop_path(tmp_path: Path) -> None:
    rows = assert_resuming_is_exact(lambda: finetune(decay="constant"), tmp_path)
    assert sum("probe/finetune/top1" in row for row in rows) == 3


def test_features_are_what_the_head_sees() -> None:
    module = finetune().eval()
    torch.testing.assert_close(module.classifier.head(module.features(images())), module(images()))


def test_what_is_no_masked_autoencoder_is_refused() -> None:
    with pytest.raises(ValueError, match=r"DDPM of runs/some is no masked autoencoder"):
        finetune(ddpm())
    with pytest.raises(ValueError, match="num_classes=0"):
        finetune(num_classes=0)
