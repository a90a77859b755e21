"""The page in a real browser, and what its server refuses."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tasks.outputs import settings_of
from tests.chromium import CHROMIUM, Browser
from tests.page.runs import desk, run_folders
from tests.tasks.test_sources import png_header

pytest.importorskip("gradio")
from page.layout import PageSettings
from page.server import Guard, address, listen, served

SETTINGS = PageSettings("inpaint", 0, 2, "127.0.0.1", 0, 1.0, 4, 50)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a page of three tiny runs."""
    runs, place = desk(run_folders(tmp_path_factory.mktemp("served"))), listen("127.0.0.1", 0)
    with served(runs, SETTINGS, place) as server:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [place]}, daemon=True)
        thread.start()
        yield address(place)
        server.should_exit = True
        thread.join(20)


def status(url: str, data: bytes | None = None, **headers: str) -> int:
    try:
        request = urllib.request.Request(url, data, headers)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd", "/gradio_api/file/etc/passwd", "/file=/etc/passwd",
        "/gradio_api/upload", "/gradio_api/proxy=http://127.0.0.1/", "/gradio_api/component_server",
        "/gradio_api/vibe-edit", "/gradio_api/stream/1", "/gradio_api/call/make", "/docs",
        "/static/../../../../etc/passwd", "/assets/%2e%2e/%2e%2e/routes.py", "/monitoring",
        "/gradio_api/process_recording",
    ],
)  # fmt: skip
def test_no_address_reads_writes_or_fetches_a_file(url: str, path: str) -> None:
    assert status(url + path) == 404


def test_requests_of_other_hosts_and_large_ones_are_refused(url: str) -> None:
    assert status(url + "/") == 200
    assert status(url + "/", Host="example.com") == 403
    assert status(url + "/", Origin="http://example.com") == 403
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
    connection.putrequest("POST", "/gradio_api/queue/join")
    connection.putheader("Content-Length", "5000000")
    connection.endheaders()
    assert connection.getresponse().status == 413


def test_a_body_of_no_stated_length_is_read_no_further_than_it_may_be() -> None:
    read = []

    async def receive() -> dict[str, Any]:
        read.append(1)
        return {"type": "http.request", "body": b"x" * 400, "more_body": True}

    assert asyncio.run(Guard(None, 1000, None).body(receive)) is None and len(read) == 3


def test_a_busy_port_is_one_clear_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=rf"port={port} \(Address already in use\); choose"):
            listen("127.0.0.1", port)


def mistake(browser: Browser, place: str, words: str) -> None:
    """Wait until the page tells a mistake in these words."""
    found = f"document.querySelector('{place} .error')?.textContent"
    browser.until(f"{found}?.includes('{words}')")


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_person_uploads_masks_inpaints_and_saves(url: str, tmp_path: Path) -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "mine.png")
    (tmp_path / "text.png").write_text("no image")
    saved = tmp_path / "saved"
    with Browser() as browser:
        browser.save_to(saved)
        browser.open(url)
        browser.until("document.querySelector('#canvas canvas')")
        browser.press("#make")
        mistake(browser, "#answer", "image first")
        for name, words in (("text.png", "no image of a kind"), ("huge.png", "67,108,864 pixels")):
            png_header(tmp_path / "huge.png", 20_000, 20_000)
            browser.give_file("#canvas input[type=file]", tmp_path / name)
            mistake(browser, "#canvas", words)
        browser.give_file("#canvas input[type=file]", tmp_path / "mine.png")
        browser.until("document.querySelector('#canvas .hint').hidden")
        browser.press("#make")
        mistake(browser, "#answer", "is masked")
        browser.value(
            "(b => { b.value = 1; })(document.querySelector('#canvas [data-part=brush]'))"
        )
        browser.drag("#canvas canvas", (2.5 / 8, 3.5 / 8), (5.5 / 8, 3.5 / 8))
        browser.press("#make")
        browser.press("#answer .save")
        file = saved / "mae_inpaint_seed0_00.png"
        for _ in range(100):
            if file.exists():
                break
            browser.value("new Promise(done => setTimeout(done, 50))")
        assert browser.value("document.querySelectorAll('#answer .save').length") == 2
        assert all(r.startswith((url, "data:", "blob:")) for r in browser.requests)
        assert browser.complaints == []
    told, result = settings_of(file), np.asarray(Image.open(file))
    assert told is not None and (told["task"], told["run"]) == ("inpaint", "mae")
    # A patch of 2 x 2 pixels is hidden where any of it is, so more than the stroke may change.
    hidden = np.zeros((8, 8), dtype=bool)
    hidden[3, 2:6] = True
    assert np.array_equal(result[~hidden], pixels[~hidden])
    assert (result[hidden] != pixels[hidden]).any()
