from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from callbacks.chain_curve import ChainCurve
from callbacks.run_record import read_rows, write_json
from functional.images import to_uint8
from functional.seeding import image_seeds
from metrics.extractors import build_extractor
from metrics.generation import GenerationMetrics
from tests.lightning_modules.tiny import data, trainer
from tests.lightning_modules.tiny_dae import WALKBACK, dae, sampling

pytestmark = pytest.mark.filterwarnings("ignore:FID of .* images")
KEY = "gen/fid-at-{}/fmnist_cnn@12"


def curve(folder: Path, **changes: Any) -> ChainCurve:
    settings: dict[str, Any] = {
        "steps": [1, 3, 9], "extractor": "fmnist_cnn", "extractor_weights": None,
        "extractor_sha256": None, "n": 12, "seed": 3, "cache": str(folder / "cache"),
    }  # fmt: skip
    return ChainCurve(**{**settings, **changes})


def walkback(steps: int) -> Any:
    return dae(**WALKBACK, sampling=sampling("walkback", steps=steps))


def scores(folder: Path) -> dict[str, float]:
    return {k: v for row in read_rows(folder / "metrics.jsonl") for k, v in row.items()}


def test_points_are_the_fid_of_chains_that_long_and_the_end_always_is_one(tmp_path: Path) -> None:
    write_json(tmp_path / "run.json", {})
    callback, source = curve(tmp_path), data()
    trainer(tmp_path, [callback]).test(walkback(5), source, verbose=False)
    found = scores(tmp_path)
    assert {KEY.format(k) for k in (1, 3, 5)} == {k for k in found if k.startswith("gen/")}
    for steps in (1, 3, 5):
        assert callback.reference is not None
        scorer = GenerationMetrics(
            build_extractor("fmnist_cnn"), ["fid"], reference=callback.reference
        )
        images = walkback(steps).sample(12, seeds=image_seeds(3, range(12)))
        scorer.update(to_uint8(images), torch.arange(12))
        assert found[KEY.format(steps)] == pytest.approx(scorer.compute()["fid"], rel=1e-4)
    assert (tmp_path / "samples" / "fid_along_chain.png").is_file()
    content = json.loads((tmp_path / "run.json").read_text())
    samplers = {record["sampler"] for record in content["protocols"].values()}
    assert any("stopped after 3" in sampler for sampler in samplers) and len(samplers) == 3


def test_the_chunks_of_chains_change_nothing(tmp_path: Path) -> None:
    found = []
    for size in (5, 12):
        module, folder = walkback(3), tmp_path / str(size)
        module.chunk_size = size
        trainer(folder, [curve(tmp_path)]).test(module, data(), verbose=False)
        found.append(scores(folder))
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_a_method_without_a_chain_is_left_alone(tmp_path: Path) -> None:
    trainer(tmp_path, [curve(tmp_path)]).test(dae(), data(), verbose=False)
    assert not any(key.startswith("gen/") for key in scores(tmp_path))


def test_a_step_below_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"steps=\[0, 2\]"):
        curve(tmp_path, steps=[0, 2])
