"""Shows a comparison in a browser of this machine and makes it anew while runs go on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

LOOPBACK = "127.0.0.1"


class Handler(SimpleHTTPRequestHandler):
    """Gives files of one folder, none of them from a browser's memory, and keeps silent."""

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of each request."""


def server(folder: Path, port: int) -> ThreadingHTTPServer:
    """Give a server of ``folder`` on the loopback address alone; port 0 takes a free one.

    Raises:
        ValueError: where the port is taken or not allowed.
    """
    try:
        return ThreadingHTTPServer((LOOPBACK, port), partial(Handler, directory=str(folder)))
    except (OSError, OverflowError) as error:
        raise ValueError(f"cannot serve on port {port} ({error}); choose another --port") from error


def watch(
    folder: Path,
    port: int,
    every: float,
    state: Callable[[], str],
    make: Callable[[str], object],
) -> None:
    """Serve ``folder`` until interrupted; make it anew whenever ``state()`` changed.

    Args:
        folder: of the page.
        port: on the loopback address.
        every: seconds between two looks.
        state: gives what the runs' files are like now.
        make: writes the page of that state.
    """
    shown = state()
    make(shown)
    with server(folder, port) as serving:
        (folder / "version").write_text(shown)
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        print(f"http://{LOOPBACK}:{serving.server_port}/ (Ctrl-C ends it)", flush=True)
        try:
            while True:
                time.sleep(every)
                now = state()
                if now != shown:
                    shown = now
                    make(shown)
                    (folder / "version").write_text(shown)
        except KeyboardInterrupt:
            serving.shutdown()
