"""A masked autoencoder that makes images from noise, in a run and after it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import experiment
import run_folder
import sample
from callbacks.checkpoints import Checkpoints
from callbacks.generation_metrics import GenerationTracker
from callbacks.run_record import read_rows, write_json
from config import ConfigError
from functional.seeding import image_seeds
from lightning_modules.generation import generate
from lightning_modules.mae import MAE
from networks.masked_generation import Sampling
from tests.command import TINY_DATA
from tests.compose import checked, composed
from tests.lightning_modules.tiny import data, trainer
from tests.lightning_modules.tiny_mae import batch, mae

pytestmark = pytest.mark.filterwarnings("ignore:FID of .* images")
TRAINED: dict[str, dict[str, Any]] = {
    "iterative": {"ratio_range": [0.0, 1.0]},
    "latent": {"loss_on_all": True},
}


def generating(kind: str, **changes: Any) -> MAE:
    sampling = Sampling(rounds=4, temperature=0.5, components=2, axes=3, images=20)
    return mae(generation=kind, sampling=sampling, **{**TRAINED[kind], **changes})


def tracker(folder: Path) -> GenerationTracker:
    return GenerationTracker("fmnist_cnn", None, None, ["fid"], 8, 12, 1, 0, str(folder / "cache"))


@pytest.mark.parametrize("kind", TRAINED)
def test_a_run_is_scored_under_its_label(kind: str, tmp_path: Path) -> None:
    write_json(tmp_path / "run.json", {})
    module = generating(kind)
    assert module.capabilities == {"sample", "restore", "features"}
    made = trainer(tmp_path, [tracker(tmp_path)], steps=3)
    made.fit(module, data())
    made.test(module, data(), verbose=False)
    row = {k: v for r in read_rows(tmp_path / "metrics.jsonl") for k, v in r.items()}
    assert {"gen/fid/fmnist_cnn@8", "gen/fid/fmnist_cnn@12"} <= row.keys()
    records = json.loads((tmp_path / "run.json").read_text())["protocols"].values()
    label = f"MAE-{kind} (not claimed by the paper)"
    assert records and all(record["sampler"].startswith(label) for record in records)
    assert {record["nfe"] for record in records} == {4 if kind == "iterative" else 1}
    assert module.previews(batch(4))["samples"].shape == (64, 1, 8, 8)


@pytest.mark.parametrize("kind", TRAINED)
def test_only_training_images_enter_the_density(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, asked = data(), []
    whole = source.uint8_batches

    def watched(split: str, *given: int) -> Any:
        asked.append((split, sum(len(pixels) for pixels in whole(split, *given))))
        return whole(split, *given)

    monkeypatch.setattr(source, "uint8_batches", watched)
    trainer(tmp_path, [], steps=3).fit(generating(kind), source)
    # Of 40 training images every second, since 20 are asked for.
    assert set(asked) == {("train", 20)}


@pytest.mark.parametrize("kind", TRAINED)
def test_any_number_of_processes_makes_the_same_images(kind: str, tmp_path: Path) -> None:
    module = generating(kind)
    trainer(tmp_path, [], steps=3).fit(module, data())
    module.eval().chunk_size = 4
    whole = [image for chunk in generate(module, 10, 3) for image in chunk.images]
    shared = {}
    for rank in range(2):
        for chunk in generate(module, 10, 3, rank, 2):
            shared |= dict(zip(chunk.indices.tolist(), chunk.images, strict=True))
    assert all(torch.equal(shared[i], whole[i]) for i in range(10))


def test_a_resumed_run_makes_the_same_images_to_the_bit(tmp_path: Path) -> None:
    def fit(folder: str, steps: int, resume: bool = False) -> Tensor:
        module, last = generating("iterative"), tmp_path / folder / "checkpoints" / "last.ckpt"
        trainer(tmp_path / folder, [Checkpoints(None, 60)], steps=steps).fit(
            module, data(), ckpt_path=last if resume else None, weights_only=True
        )
        return module.eval().sample(4, seeds=range(4))

    whole = fit("whole", 6)
    assert not torch.equal(fit("cut", 3), whole)
    assert torch.equal(fit("cut", 6, resume=True), whole)


def test_what_is_asked_of_a_sample_is_checked() -> None:
    module = generating("latent")
    with pytest.raises(ValueError, match="2 images need 2 seeds, got 1"):
        module.sample(2, seeds=[0])
    with pytest.raises(ValueError, match="trained without labels"):
        module.sample(1, seeds=[0], labels=torch.zeros(1).long())
    with pytest.raises(ValueError, match="fitted not at all, and these weights have seen 0"):
        module.sample(1, seeds=[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"generation": "diffusion"}, "unknown generation='diffusion'"),
        ({"generation": "iterative"}, r"set ratio_range=\[0, 1\]"),
        ({"generation": "latent"}, "loss_on_all=True"),
        (
            {"generation": "iterative", "ratio_range": [0, 1], "normalised_targets": True},
            "of a normalised patch the brightness and contrast are not known",
        ),
    ],
)
def test_a_generation_that_training_does_not_prepare_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        mae(**changes)


# A run without generation


TINY_MAE = [
    "method=mae", *TINY_DATA, "method.network.patch_size=4", "method.network.embed_dim=16",
    "method.network.depth=1", "method.network.heads=2", "method.network.decoder_dim=16",
    "method.network.decoder_depth=1", "method.network.decoder_heads=2", "method.pooling=mean",
]  # fmt: skip


def test_to_sample_a_run_that_was_trained_to_restore_is_refused_in_one_line(
    tmp_path: Path,
) -> None:
    config = checked(*TINY_MAE, f"paths.runs={tmp_path}", "name=run", "logger=none")
    run_folder.release(run_folder.create(config, ""))
    state = experiment.build_module(config).state_dict()
    (tmp_path / "run" / "checkpoints").mkdir()
    content = {"state_dict": state, "counters": {"images_seen": 64, "steps": 8}}
    torch.save(content, tmp_path / "run" / "checkpoints" / "last.ckpt")
    output = tmp_path / "images"
    asked = [f"run={tmp_path / 'run'}", "n=2", f"output={output}", "trainer=cpu", "weights=raw"]
    with pytest.raises(ConfigError, match=r"trained to restore.*method\.generation=iterative or"):
        sample.sample(composed(*asked, name="sample"))
    assert not output.exists()
    with pytest.raises(ValueError, match="method.generation=none"):
        next(generate(mae(), 2, 0))
    with pytest.raises(ValueError, match="method.generation=none"):
        mae().sample(1, seeds=image_seeds(0, [0]))
