from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from callbacks.checkpoints import Checkpoints, read_checkpoint
from callbacks.ema import EMA
from callbacks.generation_metrics import GenerationTracker
from callbacks.run_record import read_rows, write_json
from functional.images import to_uint8
from functional.seeding import image_seeds
from lightning_modules.base import ImageModule
from metrics.extractors import build_extractor
from metrics.generation import GenerationMetrics
from metrics.reference import reference_statistics
from tests.callbacks.toy import Toy
from tests.lightning_modules.tiny import data, trainer

pytestmark = pytest.mark.filterwarnings("ignore:FID of .* images")
FID = "gen/fid/fmnist_cnn@{}"


def tracker(folder: Path, **changes: Any) -> GenerationTracker:
    settings: dict[str, Any] = {
        "extractor": "fmnist_cnn", "extractor_weights": None, "extractor_sha256": None,
        "metrics": ["fid", "precision"], "n": 16, "n_final": 24, "every_n_validations": 1,
        "seed": 3, "cache": str(folder / "cache"),
    }  # fmt: skip
    return GenerationTracker(**{**settings, **changes})


def fids(folder: Path, n: int) -> list[float]:
    rows = read_rows(folder / "metrics.jsonl")
    return [row[FID.format(n)] for row in rows if FID.format(n) in row]


@pytest.mark.parametrize("ema_first", [True, False])
def test_scores_are_those_of_the_averaged_weights_on_seeded_images(
    tmp_path: Path, ema_first: bool
) -> None:
    module, ema, tracked = Toy(), EMA(0.9), tracker(tmp_path)
    callbacks: list[Callback] = [ema, tracked] if ema_first else [tracked, ema]
    trainer(tmp_path, callbacks, steps=3).fit(module, data())
    extractor, source = build_extractor("fmnist_cnn"), data()
    reference = reference_statistics(
        extractor, source.uint8_batches("reference", 7), source.fingerprint("reference"), None
    )
    scorer = GenerationMetrics(extractor, ["fid"], reference=reference)
    module.eval()
    with torch.no_grad(), ema.average_parameters(module):
        images = to_uint8(module.sample(16, seeds=image_seeds(3, range(16))))
    scorer.update(images, torch.arange(16))
    assert fids(tmp_path, 16) == pytest.approx([scorer.compute()["fid"]], rel=1e-4)


def test_the_end_is_scored_on_its_own_number_of_images_under_a_protocol(tmp_path: Path) -> None:
    write_json(tmp_path / "run.json", {"wandb_id": "abc"})
    module = Toy()
    run = trainer(tmp_path, [EMA(0.9), tracker(tmp_path)], steps=3)
    run.fit(module, data())
    run.test(module, data(), verbose=False)
    assert module.scores.keys() == {FID.format(24), FID.format(24).replace("fid", "precision")}
    content = json.loads((tmp_path / "run.json").read_text())
    assert content["wandb_id"] == "abc"
    records = {record["n_generated"]: record for record in content["protocols"].values()}
    assert records.keys() == {16, 24}
    final = records[24]
    assert (final["extractor"], final["seed"], final["weights"]) == ("fmnist_cnn", 3, "ema")
    assert (final["reference_dataset"], final["reference_split"]) == ("fake", "train")
    assert final["reference_n"] == data().split_size("reference")
    assert (final["sampler"], final["nfe"], final["precision"]) == ("one pass", 1, "32-true")


def test_without_an_average_the_protocol_says_raw(tmp_path: Path) -> None:
    write_json(tmp_path / "run.json", {})
    trainer(tmp_path, [tracker(tmp_path)], steps=3).fit(Toy(), data())
    (record,) = json.loads((tmp_path / "run.json").read_text())["protocols"].values()
    assert record["weights"] == "raw"


def test_scores_need_no_images_of_a_validation_or_a_test_split(tmp_path: Path) -> None:
    module, without = Toy(), data(validation_size=0)
    run = trainer(tmp_path, [Checkpoints("gen/fid", 60), tracker(tmp_path)], steps=6)
    run.fit(module, without)
    assert len(fids(tmp_path, 16)) == 2
    assert (tmp_path / "checkpoints" / "best.ckpt").exists()
    without.test_dataloader = without.val_dataloader  # empty
    run.test(module, without, verbose=False)
    assert len(fids(tmp_path, 24)) == 1


class Unvalidated(Toy):
    validation_step = ImageModule.validation_step


def test_scores_need_no_validation_step_of_the_method(tmp_path: Path) -> None:
    trainer(tmp_path, [tracker(tmp_path)], steps=6).fit(Unvalidated(), data())
    assert len(fids(tmp_path, 16)) == 2


def test_scores_come_after_every_kth_validation_and_after_the_last(tmp_path: Path) -> None:
    trainer(tmp_path, [tracker(tmp_path, every_n_validations=3)], steps=12).fit(Toy(), data())
    assert len(fids(tmp_path, 16)) == 2


def test_best_checkpoint_follows_the_tracked_fid(tmp_path: Path) -> None:
    keeper = Checkpoints("gen/fid", 60)
    trainer(tmp_path, [keeper, tracker(tmp_path)], steps=9).fit(Toy(), data())
    values = fids(tmp_path, 16)
    best = read_checkpoint(tmp_path / "checkpoints" / "best.ckpt")
    assert len(values) == 3
    assert best["counters"]["steps"] == 3 * (1 + values.index(min(values)))
    assert keeper.best_score == pytest.approx(min(values), rel=1e-6)


class Silent(Toy):
    capabilities = frozenset()


def test_methods_that_cannot_sample_are_left_alone(tmp_path: Path) -> None:
    module = Silent()
    run = trainer(tmp_path, [tracker(tmp_path, extractor="no such network")], steps=3)
    run.fit(module, data())
    run.test(module, data(), verbose=False)
    assert module.scores == {}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"metrics": ["fdi"]}, "did you mean 'fid'"),
        ({"metrics": []}, "no metric"),
        ({"n": 3}, "n=3 images are too few for fid, precision; give 4"),
        ({"n_final": 5, "metrics": ["density"]}, "give 6 or more"),
    ],
)
def test_metrics_that_could_not_be_measured_are_refused_before_the_first_step(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    module = Toy()
    with pytest.raises(ValueError, match=words):
        trainer(tmp_path, [tracker(tmp_path, **changes)], steps=3).fit(module, data())
    assert module.trained == 0


def test_an_unknown_extractor_is_refused_before_the_first_step(tmp_path: Path) -> None:
    module = Toy()
    with pytest.raises(ValueError, match="fmnist_cn"):
        trainer(tmp_path, [tracker(tmp_path, extractor="fmnist_cn")], steps=3).fit(module, data())
    assert module.trained == 0


@pytest.mark.parametrize("changes", [{"n": 1}, {"n_final": 0}, {"every_n_validations": 0}])
def test_wrong_numbers_are_named(tmp_path: Path, changes: dict[str, int]) -> None:
    ((name, value),) = changes.items()
    with pytest.raises(ValueError, match=f"{name}={value}"):
        tracker(tmp_path, **changes)
