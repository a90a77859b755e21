from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from callbacks.checkpoints import Checkpoints
from callbacks.restoration_metrics import RestorationTracker
from callbacks.run_record import read_rows, write_json
from functional.images import to_float
from functional.restore_tasks import mask_task
from functional.seeding import image_seeds
from metrics.protocol import ProtocolRecord
from metrics.restoration import image_scores
from tests.callbacks.toy import Toy
from tests.lightning_modules.tiny import SIZE, data, trainer
from tests.lightning_modules.tiny_mae import PATCH, mae, network
from tests.resuming import assert_resuming_is_exact

pytestmark = pytest.mark.filterwarnings("ignore:FID of .* images")
TASK = "restore/random-75/"


def tracker(folder: Path, **changes: Any) -> RestorationTracker:
    settings: dict[str, Any] = {
        "tasks": None, "extractor": None, "extractor_weights": None, "extractor_sha256": None,
        "n": 4, "n_final": 12, "every_n_validations": 1, "seed": 3, "cache": str(folder / "cache"),
    }  # fmt: skip
    return RestorationTracker(**{**settings, **changes})


def scores(folder: Path) -> dict[str, float]:
    return {k: v for row in read_rows(folder / "metrics.jsonl") for k, v in row.items()}


def test_scores_are_means_over_test_images_of_masks_of_their_own_seeds(tmp_path: Path) -> None:
    module, source = mae(), data()
    trainer(tmp_path, [tracker(tmp_path)], steps=3).fit(module, source)
    clean = to_float(next(source.uint8_batches("test", 4)))
    seeds = image_seeds(3, range(4))
    operator: Any = mask_task("random-75", (SIZE, SIZE), (PATCH, PATCH)).operator(
        seeds, torch.device("cpu")
    )
    restored = module.eval().restore(operator.apply(clean), operator, seeds=seeds)
    found = scores(tmp_path)
    for name, values in image_scores(restored, clean, operator.mask).items():
        assert found[TASK + name] == pytest.approx(float(values.mean()), rel=1e-6)


def test_the_chunks_of_images_change_nothing(tmp_path: Path) -> None:
    found = []
    for size in (2, 3, 16):
        module = mae()
        module.chunk_size = size
        folder = tmp_path / str(size)
        trainer(folder, [tracker(tmp_path)]).test(module, data(), verbose=False)
        found.append(scores(folder))
    assert found[0] == pytest.approx(found[2], rel=1e-6) == found[1]


def test_the_end_has_baselines_and_the_floor_beside_the_model(tmp_path: Path) -> None:
    write_json(tmp_path / "run.json", {})
    callback = tracker(tmp_path, extractor="fmnist_cnn", tasks=["random-75", "block-50"])
    trainer(tmp_path, [callback]).test(mae(), data(), verbose=False)
    found = scores(tmp_path)
    for task in (TASK, "restore/block-50/"):
        for name in ("", "corrupted/", "mean-fill/", "bilinear/"):
            keys = {f"{task}{name}{metric}" for metric in ("psnr-masked", "ssim-pasted")}
            keys |= {f"{task}{name}{metric}/fmnist_cnn@12" for metric in ("fid", "fid-pasted")}
            assert keys <= found.keys()
    assert found["restore/floor/fid/fmnist_cnn@12"] >= 0
    assert not any(key.startswith("gen/") for key in found)
    content = json.loads((tmp_path / "run.json").read_text())
    stands_on = {k: content["protocols"][id] for k, id in content["protocol_of"]["test"].items()}
    assert stands_on.keys() == {key for key in found if key.startswith("restore/")}
    assert stands_on[f"{TASK}psnr"]["extractor"] == "pixels"
    assert stands_on[f"{TASK}fid/fmnist_cnn@12"]["extractor"] == "fmnist_cnn"
    assert {r["n_generated"] for r in stands_on.values()} == {12}
    assert stands_on["restore/floor/fid/fmnist_cnn@12"]["sampler"] == "none"


def test_masks_of_other_patches_or_seeds_are_another_measurement(tmp_path: Path) -> None:
    measured = set()
    for number, (changes, patch) in enumerate([({}, PATCH), ({}, 4), ({"seed": 4}, PATCH)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_json(folder / "run.json", {})
        module = mae(network=network(patch_size=patch))
        trainer(folder, [tracker(tmp_path, **changes)], steps=3).fit(module, data())
        (record,) = json.loads((folder / "run.json").read_text())["protocols"].values()
        assert record["corruption"].startswith(f"random-75 in patches of {patch} x {patch}, seeds")
        measured.add(ProtocolRecord.from_dict(record).measurement_id)
    assert len(measured) == 3


def test_pixel_scores_alone_have_a_protocol_too(tmp_path: Path) -> None:
    write_json(tmp_path / "run.json", {})
    trainer(tmp_path, [tracker(tmp_path)], steps=3).fit(mae(), data())
    (record,) = json.loads((tmp_path / "run.json").read_text())["protocols"].values()
    assert record["extractor"] == "pixels" and record["reference_split"] == "test"
    assert record["n_generated"] == 4 and record["reference_dataset"] == "fake"


def test_a_resumed_run_measures_when_and_what_an_uninterrupted_one_does(tmp_path: Path) -> None:
    """After steps 6 and 7: the second validation and the last, of which one came before the cut."""
    rows = assert_resuming_is_exact(
        mae, tmp_path, lambda: [tracker(tmp_path, every_n_validations=2)]
    )
    assert [row["images_seen"] for row in rows if f"{TASK}psnr" in row] == [48, 56]


@pytest.mark.parametrize("module", [Toy, lambda: mae(normalised_targets=True)])
def test_a_method_that_cannot_restore_has_no_such_score(module: Any, tmp_path: Path) -> None:
    trainer(tmp_path, [tracker(tmp_path)], steps=3).fit(module(), data())
    assert not any(key.startswith("restore/") for key in scores(tmp_path))


def test_the_best_checkpoint_of_a_masked_autoencoder_is_the_one_of_lowest_loss(
    tmp_path: Path,
) -> None:
    keeper = Checkpoints("val/loss", 60)
    trainer(tmp_path, [keeper, tracker(tmp_path)], steps=6).fit(mae(), data())
    losses = [r["val/loss"] for r in read_rows(tmp_path / "metrics.jsonl") if "val/loss" in r]
    assert len(losses) == 2 and keeper.best_score == pytest.approx(min(losses))
    assert (tmp_path / "checkpoints" / "best.ckpt").is_file()


def test_settings_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="n=1"):
        tracker(tmp_path, n=1)
    with pytest.raises(ValueError, match="unknown kind of mask 'spiral'"):
        trainer(tmp_path, [tracker(tmp_path, tasks=["spiral-75"])]).fit(mae(), data())
