"""Downloads that end soon, also where a firewall swallows every packet."""

from __future__ import annotations

import contextlib
import io
import socket
from typing import Any, Protocol

SECONDS_WITHOUT_ANSWER = 15.0


class TorchvisionSet(Protocol):
    """A data set class of torchvision that can download itself."""

    def __call__(self, root: str, *, download: bool) -> Any: ...


def quietly_download(dataset: TorchvisionSet, folder: str) -> str:
    """Downloads `dataset` into `folder`; gives "" or, where that failed, the reason in one line."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SECONDS_WITHOUT_ANSWER)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            dataset(folder, download=True)
    except (OSError, RuntimeError, EOFError, ImportError) as error:
        return " ".join(f"{type(error).__name__}: {error}".split())
    finally:
        socket.setdefaulttimeout(before)
    return ""
