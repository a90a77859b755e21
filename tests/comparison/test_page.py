"""The page: alone, traced, sortable, and shown by a real browser where there is one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
import urllib.request
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import compare
from callbacks.pictures import save_picture
from comparison import serve
from comparison.board import Board
from scripts import page_screenshots
from tests.comparison.folders import RECORD, evaluated, final, run_folder, tracked

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
DIFFUSION = replace(RECORD, sampler="ddim", spacing="trailing", nfe=50, eta=0.0)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two methods of two seeds with curves, pictures and an evaluation, and their comparison."""
    place = tmp_path_factory.mktemp("compared")
    for seed in (0, 1):
        gan = run_folder(
            place / "runs" / f"gan{seed}", seed=seed, pictures=3, settings={"note": "</script>"},
            **final(14.0 + seed, precision=0.5, recall=0.4),
        )  # fmt: skip
        tracked(gan, [40.0, 20.0, 15.0])
        ddpm = run_folder(
            place / "runs" / f"ddpm{seed}", "DDPM", seed=seed, pictures=2,
            **final(6.0 + seed, DIFFUSION, precision=0.7, recall=0.6),
        )  # fmt: skip
        evaluated(tracked(ddpm, [30.0, 8.0]), "last", replace(DIFFUSION, nfe=10), 9.0)
    run_folder(place / "runs" / "broken", seed=2, status="failed", error="OSError: <disk>")
    compare.main([str(place / "runs"), "--output", str(place / "out")])
    return place


@pytest.fixture(scope="module")
def html(place: Path) -> str:
    return (place / "out" / "index.html").read_text()


def test_a_comparison_leaves_tables_plots_and_pictures(place: Path) -> None:
    names = {str(p.relative_to(place / "out")) for p in (place / "out").rglob("*.*")}
    assert {"leaderboard.md", "leaderboard.csv", "leaderboard.json", "index.html"} <= names
    assert {"progress.gif", "samples.png", "plots/fid_by_images_1.png"} <= names
    for kind in ("fid_by_images", "fid_by_minutes", "fid_by_nfe", "precision_recall"):
        assert any(name.startswith(f"plots/{kind}") and name.endswith(".svg") for name in names)
    with Image.open(place / "out" / "progress.gif") as film:
        assert film.n_frames == 3
    assert not [name for name in names if "partial" in name]


def test_the_page_asks_for_nothing_but_itself(html: str) -> None:
    assert "://" not in re.sub(r'xmlns(:\w+)?="[^"]+"', "", html)
    places = re.findall(r'(?:src|href|url)\b[=(]"?([^")]+)', html)
    assert places and all(place.startswith(("data:", "#")) for place in places)


def test_words_of_plots_take_the_colour_of_the_theme(html: str) -> None:
    assert ".plots svg text { fill: currentColor; }" in html and "#000000" not in html


def test_text_of_runs_cannot_become_part_of_the_page(html: str) -> None:
    assert "OSError: &lt;disk&gt;" in html and "<disk>" not in html
    assert html.count("</script>") == 2


def run_chromium(*arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", *arguments]
    return subprocess.run(command, check=True, capture_output=True, timeout=120, **options)


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_sorts_compares_and_shows_the_page(place: Path, html: str) -> None:
    probe = """<script>
    const table = document.querySelector("table"), head = table.tHead.rows[0];
    const column = () => [...table.tBodies[0].rows].map((row) => row.cells[2].textContent);
    const press = () => head.cells[2].querySelector("button").click();
    press(); const rising = column(); press(); const falling = column();
    const selects = document.querySelectorAll("#differences select");
    selects[0].selectedIndex = 1; selects[1].selectedIndex = 3;
    selects[1].dispatchEvent(new Event("change"));
    const rows = [...document.querySelectorAll("#differences tbody tr")];
    document.querySelector("figure img").click();
    document.title = JSON.stringify({rising, falling, open: document.querySelector("dialog").open,
      differing: rows.map((row) => row.cells[0].textContent)});
    </script></body>"""
    page = place / "probe.html"
    page.write_text(html.replace("</body>", probe))
    dom = run_chromium("--dump-dom", page.as_uri()).stdout.decode()
    title = re.search(r"<title>(.+?)</title>", dom)
    assert title is not None
    seen = json.loads(unescape(title[1]))
    values = [float(text.split()[0]) for text in seen["rising"] if text != "n/a"]
    assert values == sorted(values) and len(values) > 1
    assert seen["falling"][: len(values)] == seen["rising"][: len(values)][::-1]
    assert set(seen["differing"]) == {"name", "method._target_", "method.note"} and seen["open"]


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_pictures_of_the_page_are_light_and_dark_and_small(place: Path) -> None:
    page_screenshots.main([str(place / "out"), f"--output={place / 'shot'}", "--size=800x600"])
    for name, ground in (("shot.png", 255), ("shot_dark.png", 40)):
        with Image.open(place / name) as picture:
            grey = picture.convert("L")
            assert picture.size == (800, 600) and abs(grey.getpixel((2, 2)) - ground) <= 40
            assert len(grey.getcolors() or []) > 20
        assert (place / name).stat().st_size < page_screenshots.LARGEST


@pytest.mark.parametrize("page", [None, "<html>something else</html>"])
def test_a_folder_without_a_comparison_gives_no_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], page: str | None
) -> None:
    if page is not None:
        (tmp_path / "index.html").write_text(page)
    with pytest.raises(SystemExit):
        page_screenshots.main([str(tmp_path), f"--output={tmp_path / 'shot'}"])
    words = "make it by python compare.py" if page is None else "is no page of compare.py"
    assert words in capsys.readouterr().err and not list(tmp_path.glob("*.png"))


def test_the_page_is_served_on_the_loopback_address_alone(place: Path) -> None:
    with serve.server(place / "out", 0) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        assert serving.server_address[0] == "127.0.0.1"
        with urllib.request.urlopen(f"http://127.0.0.1:{serving.server_port}/") as answer:
            assert b"<h1>Comparison</h1>" in answer.read()
            assert answer.headers["Cache-Control"] == "no-store"
        with pytest.raises(ValueError, match="choose another --port"):
            serve.server(place, serving.server_port)
        serving.shutdown()


def test_a_watched_page_is_made_anew_when_a_run_comes_and_only_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_folder(tmp_path / "runs" / "first", **final(14.0))
    made: list[str] = []
    read: list[tuple[str, bool]] = []
    page = ""

    def get(path: str) -> str:
        with urllib.request.urlopen(f"{page}{path}") as answer:
            return str(answer.read().decode())

    def rest(seconds: float) -> None:
        """In place of the pauses between two looks: what a browser reads then."""
        nonlocal page
        page = page or capsys.readouterr().out.split()[0]
        read.append((get("version"), "runs/second" in get("")))
        if len(read) == 2:
            run_folder(tmp_path / "runs" / "second", **final(12.0))
        if len(read) == 4:
            raise KeyboardInterrupt

    def counted(places: Any, output: Path, version: str, quiet: bool) -> Board:
        made.append(version)
        return compare_runs(places, output, version, quiet)

    compare_runs = compare.compare
    monkeypatch.setattr(serve.time, "sleep", rest)
    monkeypatch.setattr(compare, "compare", counted)
    arguments = [str(tmp_path / "runs"), "--output", str(tmp_path / "out"), "--watch", "--port=0"]
    compare.main(arguments)
    assert made[0] != made[1] and page.startswith("http://127.0.0.1:")
    assert read == [(made[0], False)] * 2 + [(made[1], True)] * 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "nowhere is no folder"),
        (["empty"], "empty is no run folder"),
        (["runs", "--output", "file"], "--output file is a file"),
        (["runs", "--output", "runs/a"], "--output runs/a is a run folder"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    arguments: list[str], words: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    run_folder(tmp_path / "runs" / "a")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as caught:
        compare.main(arguments)
    assert caught.value.code == 1
    assert f"error: {words}" in capsys.readouterr().err


def test_a_run_of_one_picture_makes_no_film(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "runs" / "a", **final(14.0))
    save_picture(Image.new("RGB", (8, 8)), folder / "samples" / "samples_000000008.png")
    compare.main([str(tmp_path / "runs"), "--output", str(tmp_path / "out")])
    assert not (tmp_path / "out" / "progress.gif").exists()
    assert (tmp_path / "out" / "samples.png").exists()
