"""Rows that are kept: found again, and none lost to another call or another basis."""

from __future__ import annotations

from pathlib import Path

from callbacks.kept_rows import KeptRows


def test_rows_of_calls_at_the_same_time_and_of_other_bases_stay(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    first, second = KeptRows(path, {"n": 2}), KeptRows(path, {"n": 2})
    other = KeptRows(path, {"n": 3})
    first.add({"steps": 1, "fid": 4.0}, write=True)
    second.add({"steps": 2, "fid": 3.0}, write=True)
    other.add({"steps": 1, "fid": 9.0}, write=True)
    first.add({"steps": 5, "fid": 1.0}, write=True)
    again = KeptRows(path, {"n": 2})
    assert sorted(row["steps"] for row in again.rows) == [1, 2, 5]
    assert again.find({"steps": 2}) == {"steps": 2, "fid": 3.0, "n": 2}
    assert again.find({"steps": 3}) is None
    assert [row["fid"] for row in KeptRows(path, {"n": 3}).rows] == [9.0]
    assert again.shown(again.rows[0]) == {"steps": 1, "fid": 4.0}
