"""Serves the page on this machine, and nothing beside it."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported
os.environ["HF_HUB_OFFLINE"] = "1"

import fastapi
import gradio as gr
import uvicorn
from starlette.responses import PlainTextResponse

from page.canvas import ASSETS
from page.desk import Desk
from page.layout import PageSettings, build

LOOPBACK = ("127.0.0.1", "localhost", "::1")
OPEN = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico|/manifest\.json|/robots\.txt|/(?:assets|static)/[\w./@+-]+"
    r"|/gradio_api/(?:info/?|app_id/?|startup-events|queue/(?:join|data)|cancel|reset/?|theme\.css"
    r"|heartbeat/\w+)"
)
"""What a request may be for; of Gradio's other addresses some read, write or fetch files."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Guard:
    """Refuses addresses that the page has no use for, large requests, and names of other hosts.

    Args:
        app: what is guarded.
        largest: bytes of a request's body.
        hosts: by which the page may be called, or None for any. A page of another site that
            has its name lead to this machine would otherwise be let in.
    """

    def __init__(self, app: Any, largest: int, hosts: tuple[str, ...] | None) -> None:
        self.app, self.largest, self.hosts = app, largest, hosts

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if (refusal := self.refusal(scope["path"], headers)) is not None:
            await refusal(scope, receive, send)
            return
        body = await self.body(receive)
        if body is None:
            await PlainTextResponse("too large", 413)(scope, receive, send)
            return
        await self.app(scope, replay(body, receive), send)

    def refusal(self, path: str, headers: dict[bytes, bytes]) -> PlainTextResponse | None:
        """Give the answer to a request that is refused by its head alone, or None."""
        if not all(self.own(headers.get(name)) for name in (b"host", b"origin")):
            return PlainTextResponse("this page is for its own machine", 403)
        if not OPEN.fullmatch(path) or ".." in path:
            return PlainTextResponse("there is nothing here", 404)
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self.largest:
            return PlainTextResponse("too large", 413)
        return None

    def own(self, named: bytes | None) -> bool:
        """Tell whether "host:port", or the origin of a request where it has one, is one of ours."""
        if self.hosts is None or named is None:
            return True
        text = named.decode("latin-1")
        try:
            return urlsplit(text if "://" in text else f"//{text}").hostname in self.hosts
        except ValueError:
            return False

    async def body(self, receive: Receive) -> bytes | None:
        """Give the body of a request; None where it is larger than it may be."""
        content, more = b"", True
        while more:
            message = await receive()
            content += message.get("body", b"")
            more = bool(message.get("more_body", False))
            if len(content) > self.largest:
                return None
        return content


def replay(body: bytes, receive: Receive) -> Receive:
    """Give a ``receive`` that begins with a body that was read already."""
    told = False

    async def again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def theme() -> Any:
    """Give colours and fonts that a browser has."""
    fonts = gr.themes.Font("system-ui"), gr.themes.Font("sans-serif")
    return gr.themes.Base(
        primary_hue="indigo", neutral_hue="slate", font=fonts,
        font_mono=(gr.themes.Font("ui-monospace"), gr.themes.Font("monospace")),
    )  # fmt: skip


def make_app(desk: Desk, settings: PageSettings) -> Guard:
    """Give the page as an ASGI application, guarded."""
    inner = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    gr.mount_gradio_app(
        inner, build(desk, settings), "/", server_name=settings.host, server_port=settings.port,
        ssr_mode=False, pwa=False, run_history=False, footer_links=[], allowed_paths=[],
        mcp_server=False, enable_monitoring=False, show_error=False, max_file_size=1,
        theme=theme(), css_paths=[ASSETS / "page.css"],
    )  # fmt: skip
    hosts = (settings.host, *LOOPBACK) if settings.host in LOOPBACK else None
    largest = int(settings.megabytes * 1e6 * 3) + 1_000_000  # image and mask in base64
    return Guard(inner, largest, hosts)


def listen(host: str, port: int) -> socket.socket:
    """Give a socket at ``port``, or for 0 at a free one.

    Raises:
        ValueError: where it cannot be served on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ValueError(
            f"cannot serve on host={host} port={port} ({os.strerror(error.errno or 0)}); "
            "choose another port="
        ) from error


@contextmanager
def served(desk: Desk, settings: PageSettings, place: socket.socket) -> Iterator[uvicorn.Server]:
    """Give a server of the page at ``place``, not yet running; in the end the place is free."""
    with place:
        config = uvicorn.Config(
            make_app(desk, settings), log_level="warning", timeout_graceful_shutdown=1
        )
        yield uvicorn.Server(config)


def address(place: socket.socket) -> str:
    """Give the URL of what is served at ``place``."""
    host, port = place.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def serve(desk: Desk, settings: PageSettings, place: socket.socket) -> None:
    """Serve the page until Ctrl-C."""
    with served(desk, settings, place) as server:
        print(f"{address(place)} (Ctrl-C ends it)", flush=True)
        server.run(sockets=[place])
