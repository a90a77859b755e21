"""``evaluate.py metrics=restoration``: every task under every restorer, beside baselines."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import evaluate
from callbacks.restoration_table import Restoration
from comparison.runs import read
from comparison.scores import scores_of
from comparison.tables import tables
from tests.compose import composed, refused
from tests.metrics.test_lpips import weights_of
from tests.run_folders import untrained

pytestmark = pytest.mark.filterwarnings("ignore:FID of .* images")


def asked(run: Path, tasks: str, *restorers: str) -> list[str]:
    chosen = [f"groups.restoration.restoring.restorer=[{','.join(restorers)}]"] if restorers else []
    return [
        f"run={run}", "n=6", "trainer=cpu", "metrics=restoration",
        f"groups.restoration.tasks=[{tasks}]", *chosen,
    ]  # fmt: skip


def measured(*overrides: str) -> list[dict[str, Any]]:
    return evaluate.evaluate(composed(*overrides, name="evaluate"))


def test_a_run_that_knows_nothing_of_restoring_is_measured_and_compared(tmp_path: Path) -> None:
    run = untrained(tmp_path / "run")
    config = yaml.safe_load((run / "config.yaml").read_text())
    del config["method"]["restoring"]
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    steps = "+groups.restoration.restoring.steps=[3]"
    measured(*asked(run, "random-50,denoise-0.3,colorize", "ddnm", "estimate"), steps)
    rows = list(csv.DictReader((run / "restoration.csv").open()))
    found = {(row["task"], row["restorer"]): row for row in rows}
    assert found["random-50", "ddnm"]["consistency"] == "0.0"
    assert float(found["random-50", "[mean-fill]"]["psnr-masked"]) > 0
    assert found["random-50", "ddnm"]["nfe"] == "3"
    assert found["denoise-0.3", "estimate"]["nfe"] == "1"
    assert "images with noise alone" in found["random-50", "estimate"]["refused"]
    assert "no colour" in found["colorize", "all"]["refused"]
    assert all(float(row["seconds_per_image"]) > 0 for row in rows if row["nfe"])
    table = (run / "restoration.md").read_text()
    assert "| random-50 | ddnm | " in table and "n/a: images of 1 channel have no colour" in table
    entries = json.loads((run / "evaluation.json").read_text())["evaluations"]
    ids = {entry["protocol_id"] for entry in entries}
    assert {row["protocol"] for row in rows if not row["refused"]} <= ids
    scores = scores_of(read(run))
    made = {t.track: t for t in tables(scores, dict.fromkeys((s.run for s in scores), "ddpm"))}
    assert made.keys() == {"restore/denoise-0.3", "restore/random-50"}
    labels = {row.label for row in made["restore/denoise-0.3"].rows}
    assert labels == {
        "ddpm, ddnm, 3 steps, jump 5, resamples 4, 2 NFE", "ddpm, estimate",
        "[corrupted]", "[median]", "[tv]", "[bilinear]", "[test images]",
    }  # fmt: skip


def test_a_method_with_one_way_does_what_it_was_trained_for(tmp_path: Path) -> None:
    run = untrained(tmp_path / "run", "method=dae")
    entries = measured(*asked(run, "denoise-0.3,random-50"))
    rows = list(csv.DictReader((run / "restoration.csv").open()))
    assert [row["restorer"] for row in rows if row["nfe"]] == ["DAE"]
    (refusal,) = [row["refused"] for row in rows if row["refused"]]
    assert refusal.startswith("trained for denoise-")
    assert {"restore/floor/fid/fmnist_cnn@6"} <= {key for e in entries for key in e["scores"]}


def test_lpips_is_measured_where_its_network_is_at_hand(tmp_path: Path) -> None:
    run = untrained(tmp_path / "run", "method=dae")
    weights = weights_of("alexnet", tmp_path)
    given = f"groups.restoration.lpips_weights={weights}"
    entries = measured(*asked(run, "denoise-0.3"), given)
    row = next(r for r in csv.DictReader((run / "restoration.csv").open()) if r["nfe"])
    assert float(row["lpips"]) > 0
    (entry,) = [e for e in entries if "restore/denoise-0.3/lpips" in e["scores"]]
    record = entry["protocol"]
    assert (record["extractor"], record["resize"]) == ("lpips_alex", "64 bilinear")
    assert "| lpips |" in (run / "restoration.md").read_text()
    other = f"groups.restoration.lpips_weights={tmp_path / 'none.pth'}"
    assert "no weights file" in refused("evaluate.py", *asked(run, "denoise-0.3"), other)


def test_what_cannot_be_measured_is_refused_before_the_work(tmp_path: Path) -> None:
    run = untrained(tmp_path / "run")
    for tasks, restorer, words in (
        ("sharpen", "ddnm", "unknown task 'sharpen'"),
        ("box-25", "magic", "unknown restorer 'magic'"),
    ):
        assert words in refused("evaluate.py", *asked(run, tasks, restorer))
    with pytest.raises(ValueError, match="no task of restoring"):
        Restoration([], {})
    other = "+groups.restoration.restoring.stepz=[3]"
    assert "restoring.stepz" in refused("evaluate.py", *asked(run, "box-25", "ddnm"), other)
