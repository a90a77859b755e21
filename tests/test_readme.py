"""What the README says holds."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

import compare
import experiment
from config import register
from tests.command import ROOT

TEXT = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^python (\w+)\.py ?([^#\n]*)", TEXT, re.M)


def composed(script: str, arguments: list[str]) -> DictConfig:
    register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose(script, arguments)


@pytest.mark.parametrize(("script", "line"), COMMANDS, ids=lambda part: part)
def test_every_command_composes(script: str, line: str) -> None:
    words = [a.split(";")[0] for a in shlex.split(line) if not a.startswith("-")]
    if "-m" in shlex.split(line):
        # A sweep is of each value; the first stands for all.
        words = [word.split(",")[0] for word in words]
    # The run of the line before is not there to be read.
    arguments = [word for word in words if not word.startswith("method.encoder=")]
    if script == "compare":
        assert compare.parser().parse_args(arguments).runs
        return
    cfg = composed(script, arguments)
    if script == "train" and not cfg.resume:
        assert experiment.check(cfg)["seed"] is not None
    assert OmegaConf.to_container(cfg, resolve=True)


def test_there_are_commands_to_check() -> None:
    assert len(COMMANDS) >= 8


def test_the_layout_names_what_exists() -> None:
    block = TEXT.split("## Layout")[1].split("```")[1]
    names = [name for line in block.strip().splitlines() for name in line.split("  ")[0].split()]
    assert len(names) >= 15
    missing = [name for name in names if not (ROOT / name).exists()]
    assert not missing


def test_every_picture_and_page_it_links_exists() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", TEXT)
    missing = [
        link for link in links if not link.startswith("http") and not Path(ROOT, link).exists()
    ]
    assert links
    assert not missing
