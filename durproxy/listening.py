"""The sockets that ``serve`` listens on, bound once by the supervisor and inherited by children.

A ``serve`` that takes over from another has the other's sockets, as far as it listens in the same
places. It begins to listen in new ones with the processes that accept there: until then the kernel
leads no client to a start that may still fail.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from durproxy.config import Settings, option_name, parse_address
from durproxy.errors import ConfigurationError

BACKLOG = 1024


@dataclass
class Listening:
    """One set of sockets per proxy, and the web port's."""

    per_proxy: list[list[socket.socket]]
    web: socket.socket | None
    socket_path: Path | None
    owns_path: bool = True  # and removes it at the end

    @property
    def address(self) -> str:
        """Where clients connect, with the real port when port 0 was asked for."""
        return _address(self.per_proxy[0][0])

    @property
    def web_address(self) -> str:
        return "off" if self.web is None else _address(self.web)

    def all_sockets(self) -> list[socket.socket]:
        web = [] if self.web is None else [self.web]
        # one socket may be several proxies'
        return list(dict.fromkeys([*(one for some in self.per_proxy for one in some), *web]))

    def close(self) -> None:
        for listener in self.all_sockets():
            listener.close()
        if self.socket_path is not None and self.owns_path:
            self.socket_path.unlink(missing_ok=True)
            self.owns_path = False


class _Kept:
    """Sockets that another ``serve`` listens on, by address; each is used once."""

    def __init__(self, sockets: Sequence[socket.socket]) -> None:
        self._left: dict[object, list[socket.socket]] = {}
        for one in sockets:
            self._left.setdefault(one.getsockname(), []).append(one)

    def take(self, address: object) -> socket.socket | None:
        left = self._left.get(address)
        # not by socket.dup, which would make it blocking for the other, too
        return socket.socket(fileno=os.dup(left.pop(0).fileno())) if left else None


_NOTHING = _Kept(())


def listen(settings: Settings) -> Listening:
    """Bind everything, or a ConfigurationError that names the option."""
    host, port = parse_address(settings.listen)
    # SO_REUSEPORT, by which the kernel spreads connections over the proxies, would also let a
    # second serve in: so first see that the port is free without it
    alone = _bind_tcp("listen", host, port, shared=False)
    port = alone[0].getsockname()[1]
    for listener in alone:
        listener.close()
    per_proxy = [_bind_tcp("listen", host, port, shared=True) for _ in range(settings.proxies)]
    for listener in (one for some in per_proxy for one in some):
        listener.listen(BACKLOG)
    return _with_others(settings, port, per_proxy, _NOTHING)


def listen_beside(settings: Settings, sockets: Sequence[socket.socket]) -> Listening:
    """The same beside another ``serve``, with those of its sockets that are where we listen, too.

    The path of a unix socket that was the other's stays its own as long as it runs.
    """
    host, port = parse_address(settings.listen)
    kept = _Kept(sockets)
    per_proxy = [
        _bind_tcp("listen", host, port, shared=True, kept=kept) for _ in range(settings.proxies)
    ]
    addresses = {one.getsockname() for one in per_proxy[0]}
    number = 0
    for address in addresses:  # it had more proxies than we have: none of its queues may be lost
        while (left := kept.take(address)) is not None:
            per_proxy[number % len(per_proxy)].append(left)
            number += 1
    listening = _with_others(settings, port, per_proxy, kept)
    listening.owns_path = str(listening.socket_path) not in {one.getsockname() for one in sockets}
    return listening


def _with_others(
    settings: Settings, port: int, per_proxy: list[list[socket.socket]], kept: _Kept
) -> Listening:
    """And the unix socket, and the web port's."""
    socket_path = None
    if settings.listen_socket is not None:
        socket_path = settings.listen_socket / f".s.PGSQL.{port}"
        local = kept.take(str(socket_path)) or _bind_unix(socket_path)
        for listeners in per_proxy:
            listeners.append(local)
    web = None
    if settings.web != "off":
        web = _bind_tcp("web", *parse_address(settings.web), shared=False, kept=kept)[0]
        web.listen(BACKLOG)
    return Listening(per_proxy, web, socket_path)


def _bind_tcp(
    option: str, host: str, port: int, *, shared: bool, kept: _Kept = _NOTHING
) -> list[socket.socket]:
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as error:
        raise _could_not_listen(option, f"{host}:{port}", error.strerror) from None
    return [
        kept.take(address) or _bind(option, family, address, shared=shared)
        for family, _, _, _, address in found
    ]


def _bind(
    option: str, family: socket.AddressFamily, address: tuple[object, ...], *, shared: bool
) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        listener.bind(address)
    except OSError as error:
        raise _could_not_listen(option, f"{address[0]}:{address[1]}", error.strerror) from None
    return listener


def _bind_unix(path: Path) -> socket.socket:
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o777)  # as Postgres does: who may in is the upstream's business
        listener.listen(BACKLOG)
    except OSError as error:
        raise _could_not_listen("listen_socket", str(path), error.strerror) from None
    return listener


def _remove_stale(path: Path) -> None:
    """Unlink a socket that a crash has left; one that answers is in use."""
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise _could_not_listen("listen_socket", str(path), "another server is listening there")


def _could_not_listen(option: str, where: str, why: str | None) -> ConfigurationError:
    hint = f"Choose another place with option {option_name(option)}."
    if option == "listen":
        hint = hint[:-1] + ", or take the place of a serve of yours with --takeover."
    return ConfigurationError(
        f'could not listen on "{where}": {(why or "unknown reason").lower()}', hint=hint
    )


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
