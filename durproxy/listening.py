"""The sockets that ``serve`` listens on, bound once by the supervisor and inherited by children."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from durproxy.config import Settings, option_name, parse_address
from durproxy.errors import ConfigurationError

_BACKLOG = 1024


@dataclass(frozen=True)
class Listening:
    """One set of sockets per proxy, and the web port's."""

    per_proxy: list[list[socket.socket]]
    web: socket.socket | None
    socket_path: Path | None

    @property
    def address(self) -> str:
        """Where clients connect, with the real port when port 0 was asked for."""
        return _address(self.per_proxy[0][0])

    @property
    def web_address(self) -> str:
        return "off" if self.web is None else _address(self.web)

    def close(self) -> None:
        for listener in {one for per_proxy in self.per_proxy for one in per_proxy}:
            listener.close()
        if self.web is not None:
            self.web.close()
        if self.socket_path is not None:
            self.socket_path.unlink(missing_ok=True)


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
    socket_path = None
    if settings.listen_socket is not None:
        socket_path = settings.listen_socket / f".s.PGSQL.{port}"
        local = _bind_unix(socket_path)
        for listeners in per_proxy:
            listeners.append(local)
    web = None
    if settings.web != "off":
        web = _bind_tcp("web", *parse_address(settings.web), shared=False)[0]
    return Listening(per_proxy, web, socket_path)


def _bind_tcp(option: str, host: str, port: int, *, shared: bool) -> list[socket.socket]:
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as error:
        raise _could_not_listen(option, f"{host}:{port}", error.strerror) from None
    bound: list[socket.socket] = []
    for family, _, _, _, address in found:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError as error:
            raise _could_not_listen(option, f"{host}:{port}", error.strerror) from None
        bound.append(listener)
    return bound


def _bind_unix(path: Path) -> socket.socket:
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o777)  # as Postgres does: who may in is the upstream's business
        listener.listen(_BACKLOG)
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
    return ConfigurationError(
        f'could not listen on "{where}": {(why or "unknown reason").lower()}',
        hint=f"Choose another place with option {option_name(option)}.",
    )


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
