"""A headless Chromium that is driven as a person drives it, over its DevTools pipe."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
SECONDS = 120


class Browser:
    """One page of Chromium.

    Args:
        width, height: of the page in pixels.

    Attributes:
        requests: addresses that the page asked for.
        complaints: what it wrote to the console as an error.
    """

    def __init__(self, width: int = 1200, height: int = 1000) -> None:
        assert CHROMIUM is not None
        self._place = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        own_read, their_write = os.pipe()
        their_read, own_write = os.pipe()
        command = [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            f"--user-data-dir={self._place.name}", f"--window-size={width},{height}", "about:blank",
        ]  # fmt: skip
        # Chromium reads commands from file 3 and writes answers to file 4.
        shell = f'exec 3<&{their_read} 4>&{their_write}; exec "$@"'
        self._process = subprocess.Popen(
            ["bash", "-c", shell, "bash", *command],
            pass_fds=(their_read, their_write), stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(their_read), os.close(their_write)
        self._read, self._write, self._rest, self._number = own_read, own_write, b"", 0
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._session = ""
        pages = self.call("Target.getTargets")["targetInfos"]
        page = next(target for target in pages if target["type"] == "page")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=page, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log", "DOM"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._process.kill()
        self._process.wait()
        os.close(self._read), os.close(self._write)
        self._place.cleanup()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Give the answer to a command of the DevTools protocol."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], SECONDS)
            if not ready:
                raise TimeoutError(f"Chromium said nothing for {SECONDS} s")
            self._rest += os.read(self._read, 1 << 20)
        text, self._rest = self._rest.split(b"\0", 1)
        message: dict[str, Any] = json.loads(text)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, told: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])
        elif method == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.complaints.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(told["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and told["type"] == "error":
            self.complaints.append(" ".join(str(a.get("value")) for a in told["args"]))

    def open(self, url: str) -> None:
        """Go to ``url``."""
        self.call("Page.navigate", url=url)

    def value(self, script: str) -> Any:
        """Give the value of an expression of JavaScript."""
        found = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in found:
            raise RuntimeError(f"{script}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def until(self, script: str, seconds: float = SECONDS) -> Any:
        """Give the value of an expression as soon as it is true."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := self.value(f"(v => v instanceof Node || v)({script})"):
                return found
            time.sleep(0.05)
        shown = self.value("document.body.innerText")
        raise TimeoutError(f"{script} was not true within {seconds} s; the page says: {shown}")

    def press(self, selector: str, text: str = "") -> None:
        """Click the first element of a CSS selector, or the first of them that says ``text``."""
        found = (
            f"[...document.querySelectorAll({json.dumps(selector)})]"
            f".find(e => e.textContent.trim().startsWith({json.dumps(text)}))"
        )
        self.until(f"Boolean({found})")
        self.value(f"{found}.click()")

    def give_file(self, selector: str, path: Path) -> None:
        """Choose a file in an ``<input type="file">``."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def drag(self, selector: str, *places: Sequence[float]) -> None:
        """Drag the mouse over an element, along places (x, y) in shares of its size."""
        rect = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        self.value(f"document.querySelector({json.dumps(selector)}).scrollIntoView()")
        box = self.value(f"(r => [r.x, r.y, r.width, r.height])({rect})")
        points = [(box[0] + x * box[2], box[1] + y * box[3]) for x, y in places]
        self._mouse("mousePressed", points[0])
        for (x0, y0), (x1, y1) in pairwise(points):
            for k in range(1, 6):
                self._mouse("mouseMoved", (x0 + (x1 - x0) * k / 5, y0 + (y1 - y0) * k / 5))
        self._mouse("mouseReleased", points[-1])

    def _mouse(self, kind: str, place: tuple[float, float]) -> None:
        pressed = {"button": "left", "buttons": 1, "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], **pressed)

    def save_to(self, folder: Path) -> None:
        """Let downloads go to ``folder``."""
        self.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))

    def picture(self) -> bytes:
        """Give a picture of the whole page, as a PNG file."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        found = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        return base64.b64decode(found["data"])
