"""The part of the page where an image is given, drawn and masked, and what it sends."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

ASSETS = Path(__file__).parent / "assets"


@dataclass(frozen=True)
class Canvas:
    """What the browser holds: data URLs of PNG files of the model's size, or None."""

    image: Any = None
    mask: Any = None
    serial: int = 0


def component(value: str) -> gr.HTML:
    """Give the canvas; its events are "upload" and "example"."""
    return gr.HTML(
        value,
        html_template=(ASSETS / "canvas.html").read_text(),
        js_on_load=(ASSETS / "canvas.js").read_text(),
        apply_default_css=False,
        elem_id="canvas",
    )


def read_value(value: Any) -> Canvas:
    """Give what the browser sent; nothing of what makes no sense."""
    try:
        told = json.loads(value)
        return Canvas(told.get("image"), told.get("mask"), int(told.get("serial") or 0))
    except (TypeError, ValueError, AttributeError):
        return Canvas()


def write_value(
    size: tuple[int, int],
    masking: bool,
    megabytes: float,
    serial: int = 0,
    loaded: str | None = None,
    note: str = "",
) -> str:
    """Give what the browser is told.

    Args:
        size: (H, W) of the image.
        masking: whether a mask is painted.
        megabytes: of the largest file.
        serial: another one than before where ``loaded`` and ``note`` are news.
        loaded: the data URL of an image to show.
        note: a line below it.
    """
    told = {"size": list(size), "masking": masking, "megabytes": megabytes}
    return json.dumps({**told, "serial": serial, "loaded": loaded, "note": note})
