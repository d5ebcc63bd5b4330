"""Fixture ``web``: a real HTTP server on loopback that remembers what it was asked."""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest


@dataclass(frozen=True)
class Asked:
    """One request as it arrived; names of headers in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Web:
    """The server as a test sees it."""

    port: int
    asked: list[Asked] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)  # lets /hold answer
    gone: threading.Event = field(default_factory=threading.Event)  # the client of a /hold has left
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    web: Web

    def answer_any(self) -> None:
        url = urlsplit(self.path)
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        headers = {name.lower(): text for name, text in self.headers.items()}
        self.web.asked.append(Asked(self.command, self.path, headers, body))
        self.close_connection = True
        _ROUTES[url.path.split("/")[1]](self, url.path, parse_qs(url.query))

    def answer(self, status: int, body: bytes, kind: str | None = None, **headers: str) -> None:
        self.send_response(status)
        if kind is not None:
            self.send_header("Content-Type", kind)
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- its name there
        """Nothing: the test looks at `asked`."""


for _method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
    setattr(_Handler, f"do_{_method}", _Handler.answer_any)

Query = dict[str, list[str]]


def _echo(handler: _Handler, path: str, query: Query) -> None:
    asked = handler.web.asked[-1]
    told = {"method": asked.method, "path": asked.path, "body": asked.body.decode("latin-1")}
    handler.answer(200, json.dumps(told).encode(), "application/json", X_Many="1")


def _mirror(handler: _Handler, path: str, query: Query) -> None:
    """/mirror/STATUS says all that was asked, and says the headers in headers, too."""
    asked = handler.web.asked[-1]
    told = f"{asked.path}\n{asked.headers}\n{asked.body.decode('latin-1')}"
    sent = {f"X_{name.replace('-', '_')}": text for name, text in asked.headers.items()}
    handler.answer(int(path.split("/")[2]), told.encode(), "text/plain", **sent)


def _kept(handler: _Handler, path: str, query: Query) -> None:
    """What the request before this one had as its body."""
    handler.answer(200, handler.web.asked[-2].body, "text/plain")


def _status(handler: _Handler, path: str, query: Query) -> None:
    handler.answer(int(path.split("/")[2]), b"so it is", "text/plain")


def _busy(handler: _Handler, path: str, query: Query) -> None:
    """/busy/STATUS/N answers so the first N times that it is asked, and wants a second's pause."""
    _, _, status, times = path.split("/")
    if sum(asked.path == path for asked in handler.web.asked) <= int(times):
        handler.answer(int(status), b"not now", "text/plain", Retry_After="1")
    else:
        handler.answer(200, b"now", "text/plain")


def _as(handler: _Handler, path: str, query: Query) -> None:
    kind = query["type"][0] if "type" in query else None
    named = ["gzip"] if "gzip" in query else query.get("encoding", [])
    encoding = {"Content_Encoding": named[0]} if named else {}
    status = int(query.get("status", ["200"])[0])
    handler.answer(status, bytes.fromhex(query["hex"][0]), kind, **encoding)


def _gzip(handler: _Handler, path: str, query: Query) -> None:
    body = gzip.compress(b"a" * int(path.split("/")[2]))
    handler.answer(200, body, "text/plain", Content_Encoding="gzip")


def _to(handler: _Handler, path: str, query: Query) -> None:
    handler.answer(int(query.get("status", ["302"])[0]), b"", None, Location=query["url"][0])


def _round(handler: _Handler, path: str, query: Query) -> None:
    """/round/N redirects to /round/N-1; /round/0 is there."""
    left = int(path.split("/")[2])
    if left == 0:
        handler.answer(200, b"there", "text/plain")
    else:
        handler.answer(307, b"", None, Location=f"/round/{left - 1}")


def _hold(handler: _Handler, path: str, query: Query) -> None:
    """Answers when released; notices when the client leaves."""
    handler.connection.settimeout(0.01)
    while not handler.web.released.is_set():
        try:
            if handler.connection.recv(1) == b"":
                handler.web.gone.set()
                return
        except TimeoutError:
            continue
        except OSError:
            handler.web.gone.set()
            return
    handler.connection.settimeout(None)
    handler.answer(200, b"held", "text/plain")


def _huge(handler: _Handler, path: str, query: Query) -> None:
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b"x" * 65536)
    except OSError:
        handler.web.gone.set()


def _cut(handler: _Handler, path: str, query: Query) -> None:
    """Breaks off in the middle of the body: an orderly end, or a reset."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"x" * 10)
    handler.wfile.flush()
    if path == "/cut/reset":
        linger = struct.pack("ii", 1, 0)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        handler.connection.close()


def _garbage(handler: _Handler, path: str, query: Query) -> None:
    handler.wfile.write(b"SSH-2.0-OpenSSH\r\n\r\n")


_ROUTES: dict[str, Callable[[_Handler, str, Query], None]] = {
    "echo": _echo,
    "mirror": _mirror,
    "kept": _kept,
    "status": _status,
    "busy": _busy,
    "as": _as,
    "gzip": _gzip,
    "to": _to,
    "round": _round,
    "hold": _hold,
    "huge": _huge,
    "cut": _cut,
    "garbage": _garbage,
}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that leave are what these tests are about."""


@contextmanager
def serving_web(tls: ssl.SSLContext | None = None) -> Iterator[Web]:
    """The server, until the block ends; with `tls` over https."""
    found = Web(0)
    handler = type("Handler", (_Handler,), {"web": found})
    with _Server(("127.0.0.1", 0), handler) as server:
        found.port = server.server_port
        if tls is not None:
            found.scheme = "https"
            server.socket = tls.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield found
        found.released.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def web() -> Iterator[Web]:
    with serving_web() as found:
        yield found
