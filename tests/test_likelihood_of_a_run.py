"""``evaluate.py metrics=likelihood``: what it writes, and what it refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

import evaluate
from config import ConfigError
from metrics.protocol import ProtocolRecord
from tests.compose import composed, refused
from tests.run_folders import untrained

CHAIN = [
    "method.prediction=v",
    "+method.schedule={_target_: functional.noise_schedule.VariancePreserving, steps: 12}",
    "method.times.distribution=uniform",
    "method.sampling.sampler=ancestral",
    "method.sampling.spacing=trailing",
]


def asked(run: Path, *overrides: str) -> list[str]:
    return [f"run={run}", "n=10", "metrics=likelihood", "trainer=cpu", *overrides]


def test_the_bound_the_chain_and_the_flow_are_written_with_every_term(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = untrained(tmp_path / "run", *CHAIN)
    cfg = composed(*asked(run, "groups.likelihood.flow_steps=4"), name="evaluate")
    evaluate.evaluate(cfg)
    chain, flow = json.loads((run / "evaluation.json").read_text())["evaluations"]
    bound = chain["scores"]["likelihood/bound/test@10"]
    terms = [chain[name] for name in ("L_T", "L_(t-1), sum over t > 1", "L_0")]
    assert bound == pytest.approx(sum(terms)) and bound > 1
    assert chain["scores"]["likelihood/chain/test@10"] == pytest.approx(bound, rel=0.2)
    assert list(flow["scores"]) == ["likelihood/flow/test@10"]
    records = [ProtocolRecord.from_dict(entry["protocol"]) for entry in (chain, flow)]
    assert [(r.sampler, r.nfe) for r in records] == [
        ("chain, fixed_large", 12), ("flow, decoder dequantisation, 1 probe", 9)
    ]  # fmt: skip
    rows = list(csv.DictReader((run / "likelihood.csv").open()))
    assert [float(row["t"]) for row in rows] == list(range(1, 13))
    assert sum(float(row["bound"]) for row in rows) + chain["L_T"] == pytest.approx(bound)
    for chart in ("likelihood_terms", "likelihood_chain"):
        assert (run / f"{chart}.png").stat().st_size > 5000
    assert "likelihood/bound/test@10" in capsys.readouterr().out
    # The noise is a function of the image, so the same command gives the same numbers.
    assert evaluate.evaluate(cfg)[0]["scores"] == chain["scores"]


def test_what_has_no_likelihood_is_refused_before_data_are_read(tmp_path: Path) -> None:
    run = untrained(tmp_path / "run", *CHAIN)
    for overrides, words in (
        (["metrics=[likelihood,fid]"], "ask for it alone"),
        (["metrics=likelyhood"], "did you mean 'likelihood'"),
        (["groups.likelihood.split=train"], "unknown split 'train'; known: validation, test"),
        (["groups.likelihood.steps=13"], "steps is 13, expected 1 to 12"),
        (["groups.likelihood.variance=learnt"], "the network learns none"),
        (["+groups.likelihood.flow_step=3"], "unknown key groups.likelihood.flow_step"),
        (["reference=test"], "takes no reference="),
        (["n=17"], "n=17, but the test split of fake has 16 images"),
    ):
        assert words in refused("evaluate.py", *asked(run, *overrides)), overrides
    assert not (run / "evaluation.json").exists()


def test_a_method_without_a_likelihood_says_so() -> None:
    group = composed("run=runs/x", name="evaluate").groups
    plain = {"metrics": "likelihood", "reference": None, "statistics": None}
    asked = {**plain, "groups": OmegaConf.to_container(group)}
    module = SimpleNamespace(capabilities={"sample"})
    with pytest.raises(ConfigError, match="SimpleNamespace has no likelihood; choose another"):
        evaluate.build_group(SimpleNamespace(asked=asked, module=module))  # type: ignore[arg-type]
