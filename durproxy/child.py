"""The start of a child of ``serve``, in a fresh fork of the zygote."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from contextlib import suppress

from setproctitle import setproctitle

from durproxy import passwords
from durproxy.config import Settings, received_settings
from durproxy.log import configure, get_logger

_log = get_logger(__name__)

_ready_fd: int | None = None


def orders(settings: Settings) -> bytes:
    """What the supervisor writes to a child's first pipe."""
    return settings.model_dump_json().encode()


def announce_ready() -> None:
    """Tell the supervisor that this child does its work from now on."""
    if _ready_fd is not None:
        with suppress(OSError):  # the supervisor is gone: so are we, in a moment
            os.write(_ready_fd, b"ready\n")


def run_child(kind: str, index: int, fds: Sequence[int]) -> int:
    """A child's whole life; its exit code. ``fds``: its orders, its ready pipe, its listeners."""
    global _ready_fd
    orders_fd, _ready_fd, *listening = fds
    with os.fdopen(orders_fd, "rb") as pipe:
        settings = received_settings(json.loads(pipe.read()))
    listeners = [socket.socket(fileno=fd) for fd in listening]
    setproctitle(f"durproxy: {kind} {index}")
    configure(settings, f"{kind}-{index}")
    passwords.configure(settings)
    try:
        return _run(kind, settings, index, listeners)
    except Exception:  # noqa: BLE001  the last place: log it in our format, then be restarted
        _log.exception("child.crashed")
        return 1


def _run(kind: str, settings: Settings, index: int, listeners: list[socket.socket]) -> int:
    # imported by the zygote; here, so that a kind can be run without the other kinds' libraries
    if kind == "proxy":
        from durproxy.proxy.serve import run as run_proxy

        return run_proxy(settings, index, listeners)
    if kind == "engine":
        from durproxy.engine.worker import run as run_engine

        return run_engine(settings, index)
    if kind == "engine-alone":
        from durproxy.engine.worker import run as run_engine

        return run_engine(settings, index, alone=True)
    if kind == "web":
        from durproxy.web.app import run as run_web

        return run_web(settings, listeners[0])
    raise SystemExit(f'unknown kind of child "{kind}"')
