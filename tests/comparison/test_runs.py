from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from comparison.runs import NoRun, find, read, read_all
from comparison.settings import differing, recipe, recipe_id
from tests.comparison.folders import final, run_folder


def test_runs_are_found_below_a_folder_and_by_their_own(tmp_path: Path) -> None:
    one, two = run_folder(tmp_path / "a"), run_folder(tmp_path / "sweep" / "b")
    (tmp_path / "notes").mkdir()
    assert find([tmp_path]) == find([one, tmp_path / "sweep"]) == [one, two]


@pytest.mark.parametrize("name", ["empty", "missing", "file"])
def test_a_place_without_a_run_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(NoRun, match=f"{name} is no"):
        find([tmp_path / name])


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("run.json", None, "half-written: it has no run.json"),
        ("config.yaml", None, "half-written: it has no config.yaml"),
        ("run.json", "{", "damaged"),
        ("run.json", "[]", "damaged"),
        ("config.yaml", "a: [", "damaged"),
        ("config.yaml", "seed: 0", "damaged"),
    ],
)
def test_half_a_run_is_told_and_the_others_are_read(
    tmp_path: Path, file: str, text: str | None, words: str
) -> None:
    whole, half = run_folder(tmp_path / "a"), run_folder(tmp_path / "b")
    (half / file).unlink() if text is None else (half / file).write_text(text)
    runs, broken = read_all(find([tmp_path]))
    assert [run.folder for run in runs] == [whole]
    assert words in broken[half]


def test_a_run_is_running_while_a_process_holds_its_folder_and_dead_after(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "a", status="running")
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert read(folder).status == "running"
    assert read(folder).status == "dead"


def test_a_recipe_is_what_decides_the_result_but_the_seed(tmp_path: Path) -> None:
    one = read(run_folder(tmp_path / "a", seed=0, **final(1.0)))
    other = read(run_folder(tmp_path / "elsewhere" / "b", seed=5))
    changed = read(run_folder(tmp_path / "c", settings={"width": 8}))
    assert recipe_id(one) == recipe_id(other) != recipe_id(changed)
    assert differing([recipe(one.config), recipe(changed.config)]) == ["method.width"]
