"""``evaluate.py metrics=pareto`` and ``metrics=guidance``: what they write and refuse."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

import evaluate
import experiment
from callbacks import pareto
from callbacks.metric_group import combinations
from metrics.front import pareto_front
from tests.compose import composed, refused
from tests.run_folders import untrained

SMALL = ["n=16", "trainer=cpu"]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_nothing_beats_what_is_on_the_front_and_something_beats_all_else() -> None:
    points = [(5.0, 9.0), (10.0, 4.0), (10.0, 5.0), (20.0, 4.0), (40.0, 1.0), (3.0, 9.5)]
    assert pareto_front(points) == [5, 0, 1, 4]
    assert pareto_front([]) == []
    assert pareto_front([(1.0, 2.0), (1.0, 2.0)]) == [0]


def test_pareto_scores_every_combination_and_says_what_a_run_cannot_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = untrained(tmp_path / "run", "method.sampling.eta=0.5", "method.sampling.sampler=ddim")
    grid = ["sampler=[ddim,heun]", "spacing=[trailing]", "steps=[1,2]"]
    asked = [f"groups.pareto.sampling.{setting}" for setting in grid]
    cfg = composed(
        f"run={run}", *SMALL, "metrics=pareto", *asked, "groups.pareto.weights=[ema,raw]",
        name="evaluate",
    )  # fmt: skip
    evaluate.evaluate(cfg)
    found = rows(run / "pareto.csv")
    assert len(found) == 8
    assert {(row["steps"], row["weights"], row["nfe"]) for row in found if row["fid"]} == {
        (steps, weights, steps) for steps in "12" for weights in ("ema", "raw")
    }
    assert all("eta=0.5 with sampler heun" in row["refused"] for row in found[2:4])
    # Of one step and of two, and the same weights under two names.
    assert found[0]["fid"] == found[4]["fid"] and found[0]["fid"] != found[1]["fid"]
    assert all(float(row["seconds_per_1000"]) > 0 for row in found if row["fid"])
    assert len({row["protocol"] for row in found if row["fid"]}) == 4
    for cost in ("nfe", "seconds_per_1000"):
        assert (run / f"pareto_{cost}.png").stat().st_size > 5000
    assert "no setting beats these" in capsys.readouterr().out


def test_a_front_goes_on_where_it_was_stopped_and_takes_further_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = untrained(tmp_path / "run")
    ask = [f"run={run}", *SMALL, "metrics=pareto", "groups.pareto.sampling.spacing=[trailing]"]

    def front(sampler: str, steps: str, *more: str) -> list[dict[str, str]]:
        grid = [f"groups.pareto.sampling.{key}=[{value}]" for key, value in
                (("sampler", sampler), ("steps", steps))]  # fmt: skip
        evaluate.evaluate(composed(*ask, *grid, *more, name="evaluate"))
        return rows(run / "pareto.csv")

    measure, calls = pareto._fid, []

    def stopped(*given: Any) -> tuple[float, float]:
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measure(*given)

    monkeypatch.setattr(pareto, "_fid", stopped)
    with pytest.raises(KeyboardInterrupt):
        front("ddim", "1,2")
    assert [row["steps"] for row in front("ddim", "1,2")] == ["1", "2"] and len(calls) == 3
    found = front("ancestral", "3")
    assert [(row["sampler"], row["steps"]) for row in found] == [
        ("ancestral", "3"), ("ddim", "1"), ("ddim", "2"),
    ]  # fmt: skip
    assert len(calls) == 4
    # Another n is another table.
    assert len(front("ddim", "1", "n=17")) == 1 and len(calls) == 5
    (run / "pareto.json").write_text("{")
    with pytest.raises(ValueError, match="is damaged"):
        front("ddim", "1")


def test_a_grid_of_which_a_run_can_do_nothing_is_refused(tmp_path: Path) -> None:
    run = untrained(tmp_path / "run")
    ask = [f"run={run}", *SMALL, "metrics=pareto", "groups.pareto.sampling.spacing=[]"]
    assert "sampling.stepz" in refused("evaluate.py", *ask, "+groups.pareto.sampling.stepz=[3]")
    none = [f"groups.pareto.sampling.{key}=[]" for key in ("sampler", "steps")]
    assert "no settings to try" in refused("evaluate.py", *ask, *none)
    assert "this run has raw, ema" in refused("evaluate.py", *ask, "groups.pareto.weights=[mean]")


LABELLED = ["method.network.num_classes=10", "data.num_classes=10", "method.label_dropout=0.1"]


def test_accuracy_on_samples_of_each_label_is_scored_for_each_scale(tmp_path: Path) -> None:
    run = untrained(tmp_path / "run", *LABELLED)
    ask = [f"run={run}", "n=20", "trainer=cpu", "metrics=guidance"]
    scales = "groups.guidance.sampling.guidance=[1.0,3.0]"
    evaluate.evaluate(composed(*ask, scales, name="evaluate"))
    entries = json.loads((run / "evaluation.json").read_text())["evaluations"]
    told = [(entry["protocol"]["guidance"], entry["protocol"]["nfe"]) for entry in entries]
    assert told == [(None, 3), (3.0, 6)]
    for entry in entries:
        assert 0 <= entry["scores"]["gen/class_accuracy/fmnist_cnn@20"] <= 1
    assert [float(row["guidance"]) for row in rows(run / "guidance.csv")] == [1.0, 3.0]
    assert (run / "class_accuracy_by_guidance.png").stat().st_size > 5000
    for overrides, words in (
        (["n=25"], "n=25 is not two or more of each of 10 labels"),
        (["groups.guidance.sampling.guidance=[-1.0]"], "guidance=-1.0"),
    ):
        assert words in refused("evaluate.py", *ask, *overrides)
    plain = untrained(tmp_path / "plain")
    assert "trained without labels" in refused("evaluate.py", *ask, f"run={plain}")


def test_the_table_of_ddim_is_one_evaluation_of_every_cell() -> None:
    asked = composed("run=runs/x", "+table=ddim_cifar10", name="evaluate")
    group = experiment.make(OmegaConf.to_container(asked.groups.pareto))
    cells = list(combinations(group.sampling))
    assert (asked.metrics, asked.n, len(cells)) == ("pareto", 50000, 20)
    assert {cell["sampler"] for cell in cells} == {"ddim"}
