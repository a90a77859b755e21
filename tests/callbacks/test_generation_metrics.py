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
from tests.callbacks.toy import Toy, same, weights
from tests.lightning_modules.tiny import data, trainer

pytestmark = pytest.mark.filterwarnings("ignore:FID of .* images")
FID = "gen/fid/fmnist_cnn@{}"
RAW = "gen/fid-raw/fmnist_cnn@{}"


class Pictures(Callback):
    """Keeps the sum of what the model makes at the end of every validation."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    @property
    def state_key(self) -> str:
        return str(id(self))

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        with torch.no_grad():
            self.seen.append(float(pl_module.sample(4, seeds=range(4)).sum()))


def tracker(folder: Path, **changes: Any) -> GenerationTracker:
    settings: dict[str, Any] = {
        "extractor": "fmnist_cnn", "extractor_weights": None, "extractor_sha256": None,
        "metrics": ["fid", "precision"], "raw_metrics": [], "n": 16, "n_final": 24,
        "every_n_validations": 1, "seed": 3, "cache": str(folder / "cache"),
    }  # fmt: skip
    return GenerationTracker(**{**settings, **changes})


def fids(folder: Path, n: int, name: str = FID) -> list[float]:
    rows = read_rows(folder / "metrics.jsonl")
    return [row[name.format(n)] for row in rows if name.format(n) in row]


def expected_fid(module: Toy) -> float:
    """FID of 16 images of the weights that the module holds, by other means."""
    extractor, source = build_extractor("fmnist_cnn"), data()
    reference = reference_statistics(
        extractor, source.uint8_batches("reference", 7), source.fingerprint("reference"), None
    )
    scorer = GenerationMetrics(extractor, ["fid"], reference=reference)
    with torch.no_grad():
        images = to_uint8(module.sample(16, seeds=image_seeds(3, range(16))))
    scorer.update(images, torch.arange(16))
    return scorer.compute()["fid"]


@pytest.mark.parametrize("ema_first", [True, False])
def test_scores_are_those_of_the_averaged_weights_on_seeded_images(
    tmp_path: Path, ema_first: bool
) -> None:
    module, ema, tracked = Toy(), EMA(0.9), tracker(tmp_path)
    callbacks: list[Callback] = [ema, tracked] if ema_first else [tracked, ema]
    trainer(tmp_path, callbacks, steps=3).fit(module, data())
    module.eval()
    with ema.average_parameters(module):
        expected = expected_fid(module)
    assert fids(tmp_path, 16) == pytest.approx([expected], rel=1e-4)


def test_raw_weights_are_scored_beside_the_average_under_their_own_key_and_protocol(
    tmp_path: Path,
) -> None:
    write_json(tmp_path / "run.json", {})
    module = Toy()
    callbacks = [EMA(0.9), tracker(tmp_path, raw_metrics=["fid"])]
    trainer(tmp_path, callbacks, steps=3).fit(module, data())
    raw, averaged = fids(tmp_path, 16, RAW), fids(tmp_path, 16)
    assert raw == pytest.approx([expected_fid(module.eval())], rel=1e-4)
    assert raw != pytest.approx(averaged, rel=1e-2)
    records = json.loads((tmp_path / "run.json").read_text())["protocols"].values()
    assert [record["weights"] for record in records] == ["ema", "raw"]


def test_scores_of_raw_weights_change_nothing_else(tmp_path: Path) -> None:
    ends = []
    for name, raw in (("with", ["fid"]), ("without", [])):
        ema = EMA(0.9)
        callbacks = [Pictures(), ema, Checkpoints("gen/fid", 60), Pictures()]
        callbacks.insert(2, tracker(tmp_path, raw_metrics=raw))
        module = Toy()
        trainer(tmp_path / name, callbacks, steps=6).fit(module, data())
        best = read_checkpoint(tmp_path / name / "checkpoints" / "best.ckpt")
        ends.append([fids(tmp_path / name, 16), callbacks[0].seen, callbacks[-1].seen])
        ends[-1] += [weights(module), ema.average, best["state_dict"], best["ema"]["weights"]]
    for one, other in zip(*ends, strict=True):
        assert same(one, other) if isinstance(one, dict) else one == other


def test_the_best_checkpoint_follows_no_score_of_raw_weights(tmp_path: Path) -> None:
    module = Toy()
    module.scores = {"gen/fid-raw/x@2k": 1.0, "gen/fid/x@2k": 2.0}
    assert Checkpoints("gen/fid", 60).monitored(module) == 2.0
    assert Checkpoints("gen/fid/x@2k", 60).monitored(module) == 2.0
    assert Checkpoints("gen/fid-raw", 60).monitored(module) == 1.0


def test_without_an_average_raw_weights_are_not_scored_twice(tmp_path: Path) -> None:
    trainer(tmp_path, [tracker(tmp_path, raw_metrics=["fid"])], steps=3).fit(Toy(), data())
    assert len(fids(tmp_path, 16)) == 1 and not fids(tmp_path, 16, RAW)


def test_a_failure_among_raw_weights_leaves_them_in_the_module(tmp_path: Path) -> None:
    class Fails(Toy):
        def sample(self, n: int, **given: Any) -> torch.Tensor:
            calls.append(n)
            if len(calls) == 2:
                raise OSError("the disk went away")
            return super().sample(n, **given)

    calls: list[int] = []
    module, intact = Fails(), Toy()
    callbacks = [EMA(0.9), tracker(tmp_path, raw_metrics=["fid"])]
    with pytest.raises(OSError, match="the disk"):
        trainer(tmp_path / "one", callbacks, steps=3).fit(module, data())
    trainer(tmp_path / "other", [EMA(0.9)], steps=3).fit(intact, data())
    assert same(weights(module), weights(intact))


def test_the_end_is_scored_on_its_own_number_of_images_under_a_protocol(tmp_path: Path) -> None:
    write_json(tmp_path / "run.json", {"wandb_id": "abc"})
    module = Toy()
    run = trainer(tmp_path, [EMA(0.9), tracker(tmp_path)], steps=3)
    run.fit(module, data())
    run.test(module, data(), verbose=False)
    assert module.scores.keys() == {FID.format(24), FID.format(24).replace("fid", "precision")}
    content = json.loads((tmp_path / "run.json").read_text())
    assert content["wandb_id"] == "abc"
    assert content["seconds_per_1000_samples"] > 0
    records = {record["n_generated"]: record for record in content["protocols"].values()}
    assert records.keys() == {16, 24}
    final = records[24]
    assert (final["extractor"], final["seed"], final["weights"]) == ("fmnist_cnn", 3, "ema")
    assert (final["reference_dataset"], final["reference_split"]) == ("fake", "train")
    assert final["reference_n"] == data().split_size("reference")
    assert (final["sampler"], final["nfe"], final["precision"]) == ("one pass", 1, "32-true")
    for stage, n in (("validation", 16), ("test", 24)):
        of_key = content["protocol_of"][stage]
        assert of_key.keys() == {FID.format(n), FID.format(n).replace("fid", "precision")}
        assert {content["protocols"][id]["n_generated"] for id in of_key.values()} == {n}


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
        ({"raw_metrics": ["fdi"]}, "did you mean 'fid'"),
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
