"""What the page answers, without a browser: the functions behind its buttons."""

from __future__ import annotations

import base64
import io
import json
import re
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import app
import command_line
import use_page
from config import ConfigError
from functional.seeding import image_seeds
from page.given import data_url, png
from tasks.outputs import read_settings
from tests.compose import composed
from tests.page.runs import configuration, desk, run_folders
from tests.tasks.test_sources import png_header

gradio = pytest.importorskip("gradio")
from page.controls import common_tasks, shown  # noqa: E402
from page.layout import Page, PageSettings, make_keys  # noqa: E402

SETTINGS = PageSettings("inpaint", 0, 2, "127.0.0.1", 0, 1.0, 4, 50)
PIXELS = torch.from_numpy(np.random.RandomState(0).randint(0, 256, (1, 8, 8), dtype=np.uint8))
BOX = torch.zeros(1, 8, 8, dtype=torch.uint8)
BOX[:, 2:6, 2:6] = 255
IMAGE, MASK = data_url(png(PIXELS)), data_url(png(BOX))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return run_folders(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def page(folders: list[Path]) -> Page:
    return Page(desk(folders), SETTINGS)


def made(
    page: Page, runs: Any, task: Any, image: Any = IMAGE, mask: Any = MASK, **changes: Any
) -> str:
    """What the page shows in the end of a press on Make."""
    usual = {
        "strength": 0.6, "noise": 0.5, "corrupt": True, "factor": 2, "left": 3, "right": 0,
        "top": 0, "bottom": 0, "place": "shrink", "images": 3, "label": "any",
        "steps": 0, "seed": 3, "n": 2,
    }  # fmt: skip
    values = {**usual, **changes}
    canvas = json.dumps({"image": image, "mask": mask})
    given = [values[key] for key in make_keys()]
    *_, last = page.make(runs, task, canvas, values["seed"], values["n"], *given)
    return last


def saved(html: str) -> dict[str, bytes]:
    """The files that the links of the page save, by name."""
    links = re.findall(r'download="([^"]+)" href="data:image/png;base64,([^"]+)"', html)
    return {name: base64.b64decode(content) for name, content in links}


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def line(html: str) -> str:
    """The one line of a mistake."""
    found = re.findall(r'<p class="error" role="alert">([^<]*)</p>', html)
    assert len(found) == 1, html
    return str(found[0])


def test_only_what_a_run_can_do_is_offered(page: Page) -> None:
    offered = {name: set(run.tasks) for name, run in page.desk.runs.items()}
    assert offered["mae"] == {"inpaint", "outpaint"}
    assert offered["gan"] == {"generate", "interpolate"}
    assert {"generate", "denoise", "inpaint", "variation", "style"} <= offered["ddpm"]
    runs = list(page.desk.runs.values())
    assert common_tasks([runs[0], runs[2]]) == ["inpaint", "outpaint"]
    assert {"strength", "label"} <= shown(runs[2:], "style").keys()
    assert "label" not in shown(runs[1:2], "generate")
    assert shown(runs[2:], "inpaint")["steps"]["info"] == "0: the run's own (2)"


def test_inpainted_files_hold_their_settings_and_keep_what_was_visible(page: Page) -> None:
    before = set(Path(tempfile.gettempdir()).glob("atelier-*"))
    html = made(page, ["mae", "ddpm"], "inpaint")
    files = saved(html)
    assert list(files) == [
        f"{run}_inpaint_seed3_{k:02d}.png" for run in ("mae", "ddpm") for k in (0, 1)
    ]
    known, original = BOX[0].numpy() == 0, PIXELS[0].numpy()
    for (name, content), seed in zip(files.items(), (3, 4, 3, 4), strict=True):
        assert np.array_equal(pixels(content)[known], original[known])
        told = read_settings(content)
        assert told is not None
        assert (told["task"], told["seed"], told["run"]) == ("inpaint", seed, name.split("_")[0])
        assert told["checkpoint"] == "last" and told["images_seen"] == 64
    assert not set(Path(tempfile.gettempdir()).glob("atelier-*")) - before
    assert html.count("the model saw") == 4  # a caption and its image's alternative text, twice


def test_generated_files_are_those_of_sample_py_and_show_how_they_came(page: Page) -> None:
    html = made(page, ["ddpm"], "generate", steps=4, label="1")
    (first, *_) = saved(html).values()
    module = page.desk._others["ddpm", False, 4].module  # type: ignore[attr-defined]
    seeds, labels = image_seeds(3, range(2)), torch.tensor([1, 1])
    expected = module.sample(2, seeds=seeds, labels=labels)[0, 0]
    assert abs(pixels(first).astype(int) - ((expected + 1) * 127.5).round().numpy()).max() <= 1
    told = read_settings(first)
    assert told is not None and (told["label"], told["index"]) == (1, 0)
    assert "how image 0 came about" in html


def test_other_steps_leave_the_run_itself_as_it_is(page: Page) -> None:
    few, many = (saved(made(page, ["ddpm"], "variation", n=1, steps=k)) for k in (0, 6))
    again = saved(made(page, ["ddpm"], "variation", n=1))
    (few_file,), (many_file,), (again_file,) = few.values(), many.values(), again.values()
    assert few_file == again_file != many_file


def test_a_way_is_told_by_its_places(page: Page) -> None:
    html = made(page, ["gan"], "interpolate", n=1)
    assert len(saved(html)) == 3 and "0 to 1, 0.50" in html


HUGE = "huge"


@pytest.mark.parametrize(
    ("runs", "task", "changes", "words"),
    [
        (["mae"], "inpaint", {"image": None}, "give an image first: upload one"),
        (["mae"], "inpaint", {"image": data_url(b"text")}, "this is no image of a kind"),
        (["mae"], "inpaint", {"image": HUGE}, "has more than 67,108,864 pixels"),
        (["mae"], "inpaint", {"image": "/etc/passwd"}, "the image did not arrive"),
        (["mae"], "inpaint", {"mask": data_url(png(BOX * 0))}, "nothing is masked: paint over"),
        (["mae"], "inpaint", {"mask": data_url(png(BOX * 0 + 255))}, "hides all of image; leave"),
        (["mae"], "inpaint", {"mask": data_url(png(BOX[:, :5]))}, "mask has 8 x 5 pixels"),
        (["mae"], "denoise", {}, "choose a task: inpaint, outpaint"),
        (["../mae"], "inpaint", {}, "no run '../mae' is served here"),
        ([], "inpaint", {}, "choose a run"),
        (["mae", "gan"], "inpaint", {}, "no task in common: mae can inpaint, outpaint; gan can"),
        (["mae"], "inpaint", {"seed": -1}, "seed=-1; expected a whole number from 0"),
        (["mae"], "inpaint", {"n": 5}, "results=5; expected a whole number from 1 to 4"),
        (["mae"], "inpaint", {"steps": 51}, "steps=51; expected a whole number from 0 to 50"),
        (["mae"], "outpaint", {"left": 8}, "leave nothing of the model&#x27;s 8 x 8 pixels"),
        (["mae"], "outpaint", {"place": ["x"]}, "place has no value that can be used"),
        (["ddpm"], "variation", {"strength": 1.5}, "strength=1.5 lies outside [0, 1]"),
        (["ddpm"], "style", {"label": "7"}, "label=7: this model has classes 0 to 1"),
    ],
)
def test_a_mistake_is_one_line_of_the_page(
    page: Page, tmp_path: Path, runs: list[str], task: str, changes: dict[str, Any], words: str
) -> None:
    if changes.get("image") == HUGE:
        huge = png_header(tmp_path / "a.png", 20_000, 20_000).read_bytes()
        changes = {"image": data_url(huge)}
    told = line(made(page, runs, task, **changes)).replace("&#x27;", "'")
    assert words.replace("&#x27;", "'") in told
    assert tempfile.gettempdir() not in told


def test_a_bug_is_told_without_its_details(
    page: Page, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*given: Any) -> None:
        raise TypeError("secret")

    monkeypatch.setattr(use_page, "make", broken)
    told = line(made(page, ["mae"], "inpaint"))
    assert told == "something went wrong here (TypeError); the terminal says more"
    assert "secret" in capsys.readouterr().err


def test_an_upload_is_brought_to_the_models_size_or_refused(page: Page) -> None:
    photo = torch.zeros(3, 20, 30, dtype=torch.uint8)
    given = SimpleNamespace(data=data_url(png(photo)), serial=4)
    told = json.loads(page.upload(["mae"], "inpaint", given))
    assert (told["size"], told["serial"], told["note"]) == ([8, 8], 4, "brought to 8 x 8 pixels")
    image = Image.open(io.BytesIO(base64.b64decode(told["loaded"].split(",")[1])))
    assert image.size == (8, 8)
    wrong = json.loads(page.upload(["mae"], "inpaint", SimpleNamespace(data="x", serial=5)))
    assert wrong["loaded"] is None and "did not arrive" in wrong["note"]


def test_test_images_are_those_of_the_runs_data(page: Page) -> None:
    told = [
        json.loads(page.example(["mae"], "inpaint", SimpleNamespace(index=k, serial=1)))
        for k in (0, 1, 16)
    ]
    assert told[0]["loaded"] == told[2]["loaded"] != told[1]["loaded"]


def test_choosing_runs_changes_tasks_and_controls(page: Page) -> None:
    tasks, column, canvas, error, *controls = page.update(["gan"], "inpaint", "not json")
    assert tasks["value"] == "generate" and column["visible"] is False and error == ""
    assert json.loads(canvas)["masking"] is False
    visible = {k for k, c in zip(make_keys(), controls, strict=True) if c.get("visible")}
    assert visible == set()
    *_, error, _ = page.update([], "inpaint", "")[:5]
    assert "choose a run" in error


def test_names_of_runs_cannot_become_part_of_the_page(folders: list[Path]) -> None:
    odd = folders[1].rename(folders[1].with_name("<b>gan"))
    try:
        html = made(Page(desk([odd]), SETTINGS), ["<b>gan"], "generate")
    finally:
        odd.rename(folders[1])
    assert "<b>" not in html and "&lt;b&gt;gan" in html
    assert set(saved(html)) == {f"_b_gan_generate_seed3_{k:02d}.png" for k in (0, 1)}


def test_runs_of_one_name_are_told_apart() -> None:
    named = use_page.names([Path("a/run"), Path("b/run"), Path("c/other")])
    assert named == ["a/run", "b/run", "other"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"run": "nowhere"}, "nowhere is no run folder: it has no config.yaml"),
        ({"run": "???"}, "which run\\? give it by run=runs/NAME"),
        ({"task": "inpait"}, "did you mean 'inpaint'"),
        ({"input": "photos"}, "app.py takes no input"),
        ({"n": None}, "n=None; expected 1 to 16"),
        ({"port": 99999}, "port=99999; expected 0 to 65535"),
        ({"limits": {"megabytes": 0}}, "expected numbers above 0"),
    ],
)
def test_what_cannot_be_served_is_refused_before_a_model_is_loaded(
    folders: list[Path], changes: dict[str, Any], words: str
) -> None:
    cfg = configuration(folders, **changes)
    with pytest.raises(ConfigError, match=words):
        app.app(cfg)


def test_a_misspelt_key_of_the_command_names_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["app.py", "prt=1"])
    with pytest.raises(Exception) as caught:
        composed("prt=1", name="app")
    assert command_line.one_line(caught.value) == "unknown key prt; did you mean 'port'?"


def test_words_of_the_command_without_a_key_are_runs() -> None:
    assert command_line.with_runs(["runs/a", "port=1", "run=b", "c d"]) == [
        "port=1", 'run="runs/a"', 'beside=["b","c d"]'
    ]  # fmt: skip
