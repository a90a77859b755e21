"""Run folders in trackio: what its own server, on the loopback address, says of them."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts import import_trackio
from tests.command import ROOT
from tests.comparison.folders import FID, WHILE_TRAINING, final, run_folder, tracked

needs_trackio = pytest.mark.skipif(
    importlib.util.find_spec("trackio") is None, reason="needs trackio"
)
# Brings the runs in twice, then shows them until its input ends.
SERVE = """
import sys
from scripts.import_trackio import main
for _ in range(2):
    main([sys.argv[1], "--project", "clothes"])
import trackio
address = trackio.show("clothes", open_browser=False, block_thread=False)[1]
print("address", address, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of one name in two folders, and one that failed before its first row."""
    place = tmp_path_factory.mktemp("shown")
    for parent, fids in (("a", [40.0, 20.0]), ("b", [30.0])):
        folder = run_folder(
            place / "runs" / parent / "gan", pictures=1, wandb_id=f"id-{parent}", **final(14.0)
        )
        tracked(folder, fids)
    run_folder(place / "runs" / "broken", "DDPM", wandb_id="c", status="failed", error="no disk")
    (place / "runs" / "half").mkdir()
    (place / "runs" / "half" / "config.yaml").touch()
    return place


@pytest.fixture(scope="module")
def address(place: Path) -> Iterator[str]:
    """Where trackio's server shows the runs."""
    env = {**os.environ, "TRACKIO_DIR": str(place / "trackio"), "PYTHONPATH": str(ROOT)}
    env |= {"HF_HUB_OFFLINE": "1", "GRADIO_ANALYTICS_ENABLED": "False"}
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(place / "runs")], env=env, cwd=place, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    yield next(line.split()[1] for line in lines if line.startswith("address"))
    process.communicate()


def ask(address: str, name: str, **given: Any) -> Any:
    body = json.dumps({"project": "clothes", **given}).encode()
    request = urllib.request.Request(
        f"{address.rstrip('/')}/api/{name}", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["data"]


@pytest.mark.slow
@needs_trackio
def test_trackio_shows_scalars_pictures_settings_and_status_once_each(
    place: Path, address: str
) -> None:
    assert address.startswith("http://127.0.0.1")
    with urllib.request.urlopen(address, timeout=60) as page:
        assert b"<html" in page.read()
    runs = {run["name"]: run["id"] for run in ask(address, "get_runs_for_project")}
    assert runs == {"a-gan": "id-a", "b-gan": "id-b", "broken": "c"}
    rows = ask(address, "get_logs", run="a-gan", run_id="id-a")
    points = [(row["step"], row[WHILE_TRAINING]) for row in rows if WHILE_TRAINING in row]
    assert points == [(30_000, 40.0), (60_000, 20.0)]
    (picture,) = (row["pictures/samples"] for row in rows if "pictures/samples" in row)
    assert picture["_type"] == "trackio.image"
    (copied,) = (place / "trackio" / "media").rglob("id-a/30000/*.png")
    original = place / "runs" / "a" / "gan" / "samples" / "samples_000030000.png"
    assert copied.read_bytes() == original.read_bytes()
    configs = ask(address, "get_run_configs")
    told = {config["run"]["folder"].rsplit("/", 2)[-2]: config for config in configs.values()}
    assert told["a"]["method"]["_target_"] == "lightning_modules.x.GAN"
    assert told["a"]["run"]["status"] == "finished" and told["a"]["run"]["final"][FID] == 14.0
    failed = told["runs"]["run"]
    assert (failed["status"], failed["error"]) == ("failed", "no disk")


def test_two_runs_of_one_name_are_told_apart_by_their_parents(place: Path) -> None:
    found, _ = import_trackio.read_all(import_trackio.find([place / "runs"]))
    assert sorted(import_trackio.names(found).values()) == ["a-gan", "b-gan", "broken"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "nowhere is no folder"),
        (["runs", "--project", "a/b"], "expected letters, digits"),
    ],
)
def test_what_cannot_be_brought_in_is_one_line(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    arguments: list[str], words: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(place)
    monkeypatch.setattr(import_trackio, "_trackio", lambda: None)
    with pytest.raises(SystemExit):
        import_trackio.main(arguments)
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and words in printed


def test_without_trackio_it_says_what_to_install(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "trackio.sqlite_storage", None)
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(SystemExit):
        import_trackio.main([str(place / "runs")])
    assert "pip install -e '.[dashboard]'" in capsys.readouterr().err
