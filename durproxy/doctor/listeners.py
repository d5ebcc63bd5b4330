"""Whether the ports of ``serve`` are free, or who is there."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import closing

from durproxy.config import Settings, parse_address
from durproxy.doctor.findings import Finding, error, notice

_PATIENCE = 2.0  # seconds
_SSL_REQUEST = bytes.fromhex("0000000804d2162f")


def check(settings: Settings) -> Iterator[Finding]:
    yield from _check("listen", settings.listen, _speaks_postgres)
    if settings.web != "off":
        yield from _check("web", settings.web, _is_healthy)


def _check(name: str, address: str, is_ours: Callable[[socket.socket], bool]) -> Iterator[Finding]:
    host, port = parse_address(address)
    if port == 0:
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as problem:
            if problem.errno != errno.EADDRINUSE:
                yield error(
                    name,
                    f"Option --{name} {address} cannot be used: {problem.strerror}.",
                    "Choose an address of this machine, and a port above 1023.",
                )
            elif _answers(host, port, is_ours):
                yield notice(
                    name,
                    f"Something of the kind already serves {address}.",
                    "If it is this durproxy, that is as it should be.",
                )
            else:
                yield error(
                    name,
                    f"Another program has the port of option --{name} {address}.",
                    "Stop it, or choose another port.",
                )


def _answers(host: str, port: int, is_ours: Callable[[socket.socket], bool]) -> bool:
    try:
        with socket.create_connection((host or "localhost", port), _PATIENCE) as asking:
            asking.settimeout(_PATIENCE)
            return is_ours(asking)
    except OSError:
        return False


def _speaks_postgres(asking: socket.socket) -> bool:
    asking.sendall(_SSL_REQUEST)
    return asking.recv(1) in (b"S", b"N")


def _is_healthy(asking: socket.socket) -> bool:
    asking.sendall(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
    return asking.recv(64).split(b" ")[1:2] == [b"200"]
