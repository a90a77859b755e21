"""The table of restored images as a person reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

COLUMNS = (
    "psnr", "ssim", "lpips", "psnr-masked", "ssim-masked", "psnr-pasted", "fid", "fid-pasted",
    "consistency", "nfe", "seconds_per_image",
)  # fmt: skip


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Give rows as a table of Markdown, the reason in words where there is no number.

    A column that no row has is left out.
    """
    columns = ["task", "restorer", *(c for c in COLUMNS if any(c in row for row in rows))]
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in rows:
        cells = [_shown(row.get(column)) for column in columns]
        if "refused" in row:
            reason = f"n/a: {row['refused']}".replace("|", "\\|").replace("\n", " ")
            cells = [*cells[:2], reason, *cells[3:]]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
