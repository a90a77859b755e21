"""docs/baselines.md says what the files of the paper experiments say, and what they take."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from tests.command import ROOT


@pytest.fixture(scope="module")
def baselines() -> Any:
    spec = importlib.util.spec_from_file_location("baselines", ROOT / "scripts" / "baselines.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["baselines"] = module
    spec.loader.exec_module(module)
    return module


def test_the_page_says_what_the_headers_and_the_budgets_say(baselines: Any) -> None:
    page = baselines.page(baselines.written)
    assert page == baselines.PAGE.read_text(), "run python scripts/baselines.py"
    for path in baselines.PAPERS.glob("*.yaml"):
        images = (OmegaConf.load(path).get("budget") or {}).get("images")
        assert images in (None, baselines.written(path.stem).images), path


def test_what_the_page_says_an_experiment_takes_is_counted_on_it(baselines: Any) -> None:
    assert baselines.counted("ddpm_cifar10") == baselines.written("ddpm_cifar10")


def test_every_experiment_has_its_number_its_mark_and_its_command(baselines: Any) -> None:
    page = baselines.PAGE.read_text()
    names = [path.stem for path in baselines.PAPERS.glob("*.yaml")]
    assert len(names) > 20
    for name in names:
        section = page.split(f"## {name}\n")[1].split("\n## ")[0]
        assert f"python train.py experiment=paper/{name}\n" in section
        assert any(sign.isdigit() for sign in section.split("**Published.** ")[1].split("\n")[0])
        assert len(section.split("**Marks.** ")[1].split("\n")[0]) > 20
        assert "**Here.** Not run: needs " in section


def test_hours_follow_from_operations_and_images(baselines: Any) -> None:
    # 12.4 GFLOP, three times, for 102.4 million images at 50 TFLOP/s.
    assert baselines.Cost("x", 102_400_000, 12.4).hours == "21"
    assert baselines.Cost("x", 5_000_000, 0.019).hours == "0.0016"
    assert baselines.Cost("x", 5_000_000, None).hours == "?"


def test_a_result_of_ours_stands_in_the_header(baselines: Any, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("# @package _global_\n# A 2026. Expected: FID 3.17. Ours: FID 4. Mark: read.\n")
    found = baselines.read(path)
    assert (found.ours, found.number) == ("FID 4.", "FID 3.17")
    part = baselines.section(found, baselines.Cost("CIFAR10", 9, 1.0))
    assert "**Here.** FID 4." in part and "Not run" not in part


def test_a_header_without_its_number_is_refused_by_name(baselines: Any, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("# @package _global_\n# Someone 2026. Mark: read.\ndefaults: []\n")
    with pytest.raises(ValueError, match=r"mine\.yaml lacks 'Expected"):
        baselines.read(path)
