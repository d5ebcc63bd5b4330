"""The start of a child of ``serve``: ``python -m durproxy.child KIND INDEX``, orders on stdin."""

from __future__ import annotations

import json
import os
import socket
import sys
from contextlib import suppress
from typing import Any

from durproxy.config import Settings, received_settings
from durproxy.lifeline import die_with_parent
from durproxy.log import configure, get_logger

READY_FD = "DURPROXY_READY_FD"  # environment: the pipe on which a child says that it is ready
KINDS = ("proxy", "engine", "web")

_log = get_logger(__name__)


def orders(settings: Settings, listeners: list[socket.socket]) -> bytes:
    """What the supervisor writes to a child's stdin; the sockets are inherited by number."""
    told = {
        "settings": settings.model_dump(mode="json"),
        "listeners": [listener.fileno() for listener in listeners],
        "parent": os.getpid(),
    }
    return json.dumps(told).encode() + b"\n"


def announce_ready() -> None:
    """Tell the supervisor that this child does its work from now on."""
    fd = os.environ.get(READY_FD)
    if fd is not None:
        with suppress(OSError):  # the supervisor is gone: so are we, in a moment
            os.write(int(fd), b"ready\n")


def main() -> int:
    kind, index = sys.argv[1], int(sys.argv[2])
    told: dict[str, Any] = json.loads(sys.stdin.readline())
    die_with_parent(told["parent"])
    settings = received_settings(told["settings"])
    listeners = [socket.socket(fileno=fd) for fd in told["listeners"]]
    configure(settings, f"{kind}-{index}")
    try:
        return _run(kind, settings, index, listeners)
    except Exception:  # noqa: BLE001  the last place: log it in our format, then be restarted
        _log.exception("child.crashed")
        return 1


def _run(kind: str, settings: Settings, index: int, listeners: list[socket.socket]) -> int:
    # each kind imports only what it needs: an engine has no web server in memory
    if kind == "proxy":
        from durproxy.proxy.serve import run as run_proxy

        return run_proxy(settings, index, listeners)
    if kind == "engine":
        from durproxy.engine.worker import run as run_engine

        return run_engine(settings, index)
    if kind == "web":
        from durproxy.web.app import run as run_web

        return run_web(settings, listeners[0])
    raise SystemExit(f'unknown kind of child "{kind}"')


if __name__ == "__main__":
    sys.exit(main())
