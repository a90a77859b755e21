"""What a leaderboard ranks, what it keeps apart, and what it says of runs that are in none."""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comparison import runs as reading
from comparison import writers
from comparison.board import Board, build
from comparison.tables import Row, Table
from tests.comparison.folders import FID, RECORD, evaluated, final, run_folder, tracked

DIFFUSION = replace(RECORD, sampler="ddim", spacing="trailing", nfe=50, eta=0.0)
OTHER_NETWORK = replace(RECORD, extractor_sha256="ef" * 32)


def board(place: Path) -> Board:
    return build(*reading.read_all(reading.find([place])))


def only(found: Board) -> Table:
    (table,) = found.tables
    return table


def shown(row: Row) -> list[str]:
    return [writers.shown(row.cells[c]) for c in sorted(row.cells)]


def test_seeds_are_one_row_with_mean_and_standard_deviation(tmp_path: Path) -> None:
    fids = [14.0, 15.0, 17.5]
    for seed, fid in enumerate(fids):
        run_folder(tmp_path / f"gan{seed}", seed=seed, **final(fid))
    (row,) = only(board(tmp_path)).rows
    (cell,) = row.cells.values()
    assert (row.label, cell.mean) == ("GAN", pytest.approx(15.5))
    assert cell.std == pytest.approx(statistics.stdev(fids))
    assert shown(row) == ["15.5 ± 1.803 (3)"]


def test_methods_measured_alike_are_ranked_whatever_their_samplers(tmp_path: Path) -> None:
    run_folder(tmp_path / "gan", **final(14.0, precision=0.5))
    run_folder(tmp_path / "ddpm", "DDPM", **final(6.0, DIFFUSION, precision=0.4))
    table = only(board(tmp_path))
    assert [(row.rank, row.label) for row in table.rows] == [(1, "DDPM, ddim, 50 NFE"), (2, "GAN")]
    best = {c.metric: [cell.mean for cell in cells] for c, cells in table.best.items()}
    assert best == {"fid": [6.0], "precision": [0.5]}
    assert "**6**" in writers.markdown(board(tmp_path))


@pytest.mark.parametrize(
    "change",
    [
        {"extractor_sha256": "ef" * 32}, {"reference_sha256": "ef" * 32}, {"resize": "other"},
        {"reference_split": "test"}, {"quantisation": "floor"}, {"antialias": False},
    ],
)  # fmt: skip
def test_values_of_two_measurements_never_share_a_ranking(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    run_folder(tmp_path / "a", **final(14.0))
    run_folder(tmp_path / "b", settings={"width": 2}, **final(3.0, replace(RECORD, **change)))
    table = only(board(tmp_path))
    assert len(table.columns) == 2 and not table.best
    assert all(len(row.cells) == 1 and row.rank is None for row in table.rows)
    (note,) = table.notes
    ((name, value),) = change.items()
    assert "are not compared" in note and f"{name}: " in note and str(value) in note
    text = writers.markdown(board(tmp_path))
    assert "**" not in text and note in text
    assert not any(cell["best"] for cell in writers.cells(board(tmp_path)))


def test_one_method_measured_in_two_ways_gets_no_mean_over_both(tmp_path: Path) -> None:
    run_folder(tmp_path / "a", seed=0, **final(14.0))
    run_folder(tmp_path / "b", seed=1, **final(3.0, OTHER_NETWORK))
    (row,) = only(board(tmp_path)).rows
    assert sorted(cell.mean for cell in row.cells.values()) == [3.0, 14.0]


def test_a_score_without_a_record_is_compared_with_no_recorded_one(tmp_path: Path) -> None:
    run_folder(tmp_path / "a", **final(14.0))
    run_folder(tmp_path / "b", settings={"width": 2}, final={FID: 3.0})
    table = only(board(tmp_path))
    assert len(table.columns) == 2 and not table.best
    assert "one of them has no protocol record" in table.notes[1]


def test_scores_without_a_record_are_not_ranked_among_themselves(tmp_path: Path) -> None:
    for number, fid in enumerate((14.0, 3.0)):
        settings = {"width": number}
        run_folder(tmp_path / str(number), settings=settings, final={FID: fid})
    table = only(board(tmp_path))
    assert len(table.columns) == 1 and not table.best
    assert all(row.rank is None for row in table.rows)
    assert "is not ranked: no protocol record" in table.notes[0]


def test_other_weights_than_the_usual_ones_are_a_row_of_their_own(tmp_path: Path) -> None:
    for seed, fid in enumerate((14.0, 15.0)):
        folder = run_folder(tmp_path / str(seed), seed=seed, **final(fid))
        evaluated(folder, "last", replace(RECORD, weights="raw"), fid + 5)
    rows = only(board(tmp_path)).rows
    assert [(row.label, shown(row)) for row in rows] == [
        ("GAN", ["14.5 ± 0.7071 (2)"]), ("GAN, raw weights", ["19.5 ± 0.7071 (2)"])
    ]  # fmt: skip


def test_runs_of_two_data_sets_are_shown_apart(tmp_path: Path) -> None:
    run_folder(tmp_path / "a", **final(14.0))
    run_folder(tmp_path / "b", data="CIFAR10", **final(3.0))
    found = board(tmp_path)
    assert [table.data.split()[0] for table in found.tables] == ["CIFAR10", "FashionMNISTMini"]
    assert not any(table.best for table in found.tables)


def test_each_recipe_has_a_name_of_its_own(tmp_path: Path) -> None:
    for number in range(30):
        settings = {"width": number % 5, "lr": (number // 5) / 10, "same": 1}
        run_folder(tmp_path / str(number), settings=settings, **final(float(number)))
    rows = only(board(tmp_path)).rows
    assert len({row.label for row in rows}) == 30
    assert all("width=" in row.label and "lr=" in row.label for row in rows)
    assert not any("same" in row.label for row in rows)


def test_the_same_seed_twice_counts_once_and_the_newer_counts(tmp_path: Path) -> None:
    run_folder(tmp_path / "old", started="2026-01-01", **final(20.0))
    run_folder(tmp_path / "new", started="2026-01-02", **final(14.0))
    found = board(tmp_path)
    assert shown(only(found).rows[0]) == ["14"]
    assert "repeats seed 0" in found.left_out[str(tmp_path / "old")]


def test_checkpoints_have_columns_of_their_own(tmp_path: Path) -> None:
    folder = tracked(run_folder(tmp_path / "gan", **final(14.0)), [20.0, 13.0, 15.0])
    evaluated(evaluated(folder, "best", RECORD, 12.0), "last", RECORD, 14.0)
    table = only(board(tmp_path))
    values = {(c.features, c.checkpoint): table.rows[0].cells[c].mean for c in table.columns}
    assert values == {
        ("fmnist_cnn@10k", "final"): 14.0,
        ("fmnist_cnn@10k", "best checkpoint"): 12.0,
        ("fmnist_cnn@2k", "best while training"): 13.0,
    }


def test_evaluations_with_other_steps_are_rows_of_their_own(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "ddpm", "DDPM", **final(6.0, DIFFUSION))
    evaluated(folder, "last", replace(DIFFUSION, nfe=10), 9.0)
    rows = only(board(tmp_path)).rows
    assert [(r.rank, r.label) for r in rows] == [
        (1, "DDPM, ddim, 50 NFE"), (2, "DDPM, ddim, 10 NFE")
    ]  # fmt: skip


def test_baselines_and_the_floor_stand_in_the_table_without_a_rank(tmp_path: Path) -> None:
    record = replace(RECORD, corruption="random-75 in patches of 4 x 4, seeds of 0")
    for method, fid in (("MAE", 9.0), ("DAE", 8.0)):
        scores = {"restore/random-75/fid/fmnist_cnn@10k": fid,
                  "restore/random-75/bilinear/fid/fmnist_cnn@10k": 7.0}  # fmt: skip
        protocols = {record.id: record.as_dict(), RECORD.id: RECORD.as_dict()}
        of = dict.fromkeys(scores, record.id)
        floor = {"restore/floor/fid/fmnist_cnn@10k": 0.5}
        run_folder(
            tmp_path / method, method, final={**scores, **floor}, protocols=protocols,
            protocol_of={"test": {**of, "restore/floor/fid/fmnist_cnn@10k": RECORD.id}},
        )  # fmt: skip
    table = only(board(tmp_path))
    assert table.track == "restore/random-75"
    ranks = {row.label: row.rank for row in table.rows}
    assert ranks == {"DAE": 1, "MAE": 2, "[bilinear]": None, "[test images]": None}
    assert [cell.mean for cells in table.best.values() for cell in cells] == [8.0]


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        ("failed", "NonFiniteLoss: nan at step 3", "failed at 90,048 images: NonFiniteLoss: nan"),
        ("interrupted", None, "interrupted at 90,048 images"),
        ("running", None, "dead at 90,048 images"),
    ],
)
def test_a_run_that_did_not_finish_is_named_and_ranked_nowhere(
    tmp_path: Path, status: str, error: str | None, words: str
) -> None:
    run_folder(tmp_path / "gan", status=status, error=error, **final(1.0))
    found = board(tmp_path)
    assert not found.tables and not found.costs
    assert words in found.left_out[str(tmp_path / "gan")] and words in writers.markdown(found)


def test_distances_to_training_images_stand_in_the_row_of_the_images_they_are_of(
    tmp_path: Path,
) -> None:
    content = final(6.0, DIFFUSION)
    content["final"]["gen/nn_distance/pixels@256"] = 9.5
    run_folder(tmp_path / "ddpm", "DDPM", **content)
    (row,) = only(board(tmp_path)).rows
    assert shown(row) == ["6", "9.5"]
