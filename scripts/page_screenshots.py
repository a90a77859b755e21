"""Pictures of a comparison's page, light and dark, as headless Chromium shows it.

``python scripts/page_screenshots.py [comparison] [--output docs/compare_page] [--size 1280x1500]``
writes ``OUTPUT.png`` and ``OUTPUT_dark.png`` of the top of ``comparison/index.html``, which
``python compare.py runs`` makes.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import command_line  # noqa: E402
from callbacks.pictures import save_whole  # noqa: E402

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
LARGEST = 300_000
"""Bytes of a picture that belongs in a repository."""


def browser() -> str:
    """Give the Chromium of this machine.

    Raises:
        FileNotFoundError: where there is none.
    """
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise FileNotFoundError(f"no browser found ({', '.join(NAMES)}); install Chromium")
    return found


def themed(page: Path, theme: str) -> str:
    """Give the text of a page in the "light" or "dark" theme.

    Raises:
        FileNotFoundError: where there is no page.
        ValueError: for another page than that of a comparison.
    """
    if not page.is_file():
        raise FileNotFoundError(f"there is no {page}; make it by python compare.py runs")
    text, count = re.subn(r'<html lang="en"', rf'\g<0> data-theme="{theme}"', page.read_text())
    if count != 1:
        raise ValueError(f"{page} is no page of compare.py")
    return text


def picture(page: str, size: tuple[int, int]) -> Image.Image:
    """Give what Chromium shows of a page's text in a window of (width, height) pixels."""
    with tempfile.TemporaryDirectory() as place:
        file, shot = Path(place) / "page.html", Path(place) / "shot.png"
        file.write_text(page)
        command = [
            browser(), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            f"--window-size={size[0]},{size[1]}", f"--screenshot={shot}", file.as_uri(),
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        with Image.open(shot) as image:
            return image.convert("RGB")


def save(image: Image.Image, path: Path) -> int:
    """Write a picture in 256 colours, so that it is small; give its bytes.

    Raises:
        ValueError: where it is too large for a repository even so.
    """
    save_whole(image.quantize(256, dither=Image.Dither.NONE), path, "PNG", optimize=True)
    size = path.stat().st_size
    if size > LARGEST:
        raise ValueError(f"{path} has {size:,} bytes, more than {LARGEST:,}; give a smaller --size")
    return size


def size(text: str) -> tuple[int, int]:
    """Give (width, height) of "1280x1500"."""
    matched = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if matched is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size, expected say 1280x1500")
    return int(matched[1]), int(matched[2])


def main(arguments: Sequence[str] | None = None) -> None:
    """Write both pictures."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=RAW)
    asked.add_argument("comparison", nargs="?", type=Path, default=Path("comparison"))
    asked.add_argument("--output", type=Path, default=ROOT / "docs" / "compare_page")
    asked.add_argument("--size", type=size, default=(1280, 1500))
    given = asked.parse_args(arguments)
    try:
        for theme, suffix in (("light", ""), ("dark", "_dark")):
            path = given.output.with_name(f"{given.output.name}{suffix}.png")
            shown = picture(themed(given.comparison / "index.html", theme), given.size)
            print(f"wrote {path}, {save(shown, path):,} bytes")
    except (ValueError, OSError) as error:
        command_line.fail(error)


RAW = argparse.RawDescriptionHelpFormatter

if __name__ == "__main__":
    main()
