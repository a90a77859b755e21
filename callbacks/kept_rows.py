"""Rows of a table that were measured already, kept where another call finds them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from callbacks.run_record import write_json

Row = dict[str, Any]


class KeptRows:
    """The rows in a JSON file that share a basis, which says what else they depend on.

    A row is written as soon as it is measured, so that a call that was stopped goes on where it
    was, and a later one with other settings adds to the table. Rows of another basis stay there.

    Args:
        path: of the file, which may not be there yet.
        basis: what all rows of one table have in common.

    Raises:
        ValueError: for a damaged file.
    """

    def __init__(self, path: Path, basis: Mapping[str, Any]) -> None:
        self.path, self.basis = path, dict(basis)
        self.rows = [row for row in self._read() if self._fits(row)]

    def find(self, wanted: Mapping[str, Any]) -> Row | None:
        """Give the kept row that has all of ``wanted``, if there is one."""
        for row in self.rows:
            if all(key in row and row[key] == value for key, value in wanted.items()):
                return row
        return None

    def add(self, row: Mapping[str, Any], write: bool) -> Row:
        """Keep a row; ``write`` on one process alone. Gives the row as it is kept."""
        kept = {**row, **self.basis}
        self.rows.append(kept)
        if write:
            # Another call may have added rows meanwhile.
            there = self._read()
            self.rows += [other for other in there if self._fits(other) and other not in self.rows]
            others = [other for other in there if not self._fits(other)]
            write_json(self.path, {"rows": [*others, *self.rows]})
        return kept

    def shown(self, row: Row) -> Row:
        """Give the row without its basis."""
        return {key: value for key, value in row.items() if key not in self.basis}

    def _fits(self, row: Mapping[str, Any]) -> bool:
        return all(row.get(key) == value for key, value in self.basis.items())

    def _read(self) -> list[Row]:
        if not self.path.exists():
            return []
        try:
            return [dict(row) for row in json.loads(self.path.read_text())["rows"]]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self.path} is damaged ({error}); move it away") from error
