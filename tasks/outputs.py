"""The files that a task writes: PNG files with their settings in them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from callbacks.pictures import save_whole

KEY = "atelier"
"""Of the text in a PNG file that holds the settings, as JSON."""


class OutputFolder:
    """A folder of results, a PNG file each.

    Args:
        folder: where they are written.
        overwrite: replace files of other settings, which are refused otherwise.
    """

    def __init__(self, folder: Path, overwrite: bool) -> None:
        self.folder, self.overwrite = folder, overwrite

    def path(self, name: str) -> Path:
        """Give the file of the result ``name``, which may lie in a sub-folder."""
        return self.folder / f"{name}.png"

    def missing(self, name: str, settings: Mapping[str, Any]) -> bool:
        """Tell whether the result is still to be made with these settings.

        Raises:
            ValueError: where it is there with other ones.
        """
        path = self.path(name)
        if not path.exists():
            return True
        there = settings_of(path)
        if there == json.loads(json.dumps(settings)):
            return False
        if not self.overwrite:
            raise ValueError(
                f"{path} is there with {difference(there, settings)}; choose another output=, or "
                "replace it by overwrite=true"
            )
        return True

    def save(self, name: str, image: Tensor, settings: Mapping[str, Any]) -> Path:
        """Write uint8 ``(C, H, W)``, whole or not at all, with its settings."""
        text = PngImagePlugin.PngInfo()
        text.add_text("Software", "atelier")
        text.add_text(KEY, json.dumps(settings))
        return save_whole(to_pil_image(image), self.path(name), "PNG", pnginfo=text)


def settings_of(path: Path) -> dict[str, Any] | None:
    """Give the settings that a PNG file of :class:`OutputFolder` holds; None for any other file."""
    try:
        return read_settings(path.read_bytes())
    except OSError:
        return None


def read_settings(content: bytes) -> dict[str, Any] | None:
    """Give what :func:`settings_of` does, of the bytes of a file."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            found = json.loads(getattr(image, "text", {})[KEY])
    except (OSError, KeyError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def difference(there: Mapping[str, Any] | None, asked: Mapping[str, Any]) -> str:
    """Say how the settings of a file that is there differ from those that are asked for."""
    if there is None:
        return "no settings in it, so another program wrote it"
    old, new = flat(there), flat(asked)
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return " and ".join(f"{key} {old.get(key)!r}, not {new.get(key)!r}" for key in keys)


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Give nested settings in one level, as ``mask.box``."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        nested = isinstance(value, Mapping)
        found |= flat(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return found
