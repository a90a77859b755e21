"""Pictures of the page of ``app.py`` as a browser shows it, with a mask painted and results made.

``python app.py run=runs/ddpm runs/mae`` in one terminal and then, in another,
``python docs/app_pictures.py http://127.0.0.1:7860 docs``: the first run alone, and side by side.
The seconds that a run took are left out: they are those of the machine and of the moment.
"""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.chromium import Browser

SECONDS = 900
IMAGE = 10
STEPS = 15
STROKES = [(0.32, 0.36), (0.68, 0.36), (0.68, 0.46), (0.32, 0.46), (0.32, 0.56), (0.68, 0.56)]


def save(browser: Browser, path: Path) -> None:
    """Write a picture of the page, in as few bytes as it needs."""
    with Image.open(io.BytesIO(browser.picture())) as picture:
        few = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    print(f"wrote {path}, {few.width} x {few.height}, {path.stat().st_size // 1000} kB")


def begin(browser: Browser, url: str) -> None:
    """Open the page, take a test image, mask its middle."""
    browser.open(url)
    browser.until("document.querySelector('#canvas canvas')")
    note = "document.querySelector('#canvas .note').textContent"
    for index in range(IMAGE + 1):
        browser.press("button", "Test image")
        browser.until(f"{note} == 'test image {index}'")
    browser.until("document.querySelector('#canvas .hint').hidden")
    browser.drag("#canvas canvas", *STROKES)
    canvas = "document.querySelector('#canvas canvas')"
    browser.value(f"{canvas}.dispatchEvent(new Event('pointerleave'))")
    steps = "document.querySelector('[aria-label^=\"number input for Steps\"]')"
    browser.value(f"{steps}.value = {STEPS}")
    # Gradio takes a number that was typed in when its field is left.
    for kind in ("input", "change", "blur"):
        browser.value(f"{steps}.dispatchEvent(new Event('{kind}', {{ bubbles: true }}))")


def make(browser: Browser, runs: int) -> None:
    """Press Make and wait until that many runs are done."""
    browser.press("#make")
    working = "document.querySelectorAll('#answer .working').length"
    saved = "document.querySelectorAll('#answer .save').length"
    browser.until(f"{working} == 0 && {saved} >= {4 * runs}", SECONDS)
    browser.value(
        "document.querySelectorAll('#answer .told').forEach("
        "p => { p.textContent = p.textContent.replace(/ in [0-9.]+ s$/, ''); })"
    )
    time.sleep(0.5)
    browser.value("window.scrollTo(0, 0)")


def main(url: str, folder: Path) -> None:
    """Write ``app_inpaint.png`` and ``app_compare.png``."""
    with Browser(1200, 900) as browser:
        begin(browser, url)
        make(browser, 1)
        save(browser, folder / "app_inpaint.png")
        second = "document.querySelectorAll('input[type=checkbox]')[1]"
        browser.value(f"{second}.click()")
        time.sleep(2)
        make(browser, 2)
        save(browser, folder / "app_compare.png")


if __name__ == "__main__":
    main(sys.argv[1].rstrip("/"), Path(sys.argv[2]))
