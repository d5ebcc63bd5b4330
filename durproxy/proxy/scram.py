"""SCRAM as a party to it: towards the client as the server, towards the server as the client.

With TLS on both legs SCRAM cannot pass through: a client proves that it knows the password *and*
which certificate it sees, which is ours, or at least that it was offered no such proof, which a
server that did offer it takes for an attack. So both sides are played here, with the password from
the user list; the library ``scramp`` has the messages and the arithmetic.

Each is a conversation without sockets: texts in, texts out. The steps are the library's own; what
it finds wrong is a ``LoginFailed``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, TypeVar

from scramp import ScramClient, ScramException, ScramMechanism
from scramp.core import ScramServer

from durproxy.errors import DurproxyError

PLAIN: Final = "SCRAM-SHA-256"
BOUND: Final = "SCRAM-SHA-256-PLUS"
_BINDING: Final = "tls-server-end-point"
_USER: Final = "user"  # any: the startup packet has named it, and the library wants one here
_REMEMBERED: Final = 1_000  # passwords whose keys are kept: each costs milliseconds

AuthInfo = tuple[bytes, bytes, bytes, int]
T = TypeVar("T")


class LoginFailed(DurproxyError):
    """The client does not know the password, or its messages make no sense."""

    sqlstate = "28P01"


class StoredLoginFailed(DurproxyError):
    """The server does not take the password of the user list."""

    sqlstate = "28P01"


@lru_cache(_REMEMBERED)
def auth_info(user: str, password: str) -> AuthInfo:
    """What a server keeps of a password, with a salt for each user; slow, so that guessing is."""
    del user  # it only makes the salt another one
    info: AuthInfo = ScramMechanism(PLAIN).make_auth_info(password)
    return info


class ServerSide:
    """We are the server."""

    def __init__(self, mechanism: str, info: AuthInfo, binding: bytes | None) -> None:
        channel = None if binding is None else (_BINDING, binding)
        self._server: ScramServer = ScramMechanism(mechanism).make_server(lambda _: info, channel)

    def first(self, client_first: str) -> str:
        return _checked(lambda: _first(self._server, client_first))

    def final(self, client_final: str) -> str:
        """The answer that proves us; LoginFailed unless the client has proved itself."""
        return _checked(lambda: _final(self._server, client_final))


class ClientSide:
    """We are the client."""

    def __init__(self, offered: Sequence[str], password: str, binding: bytes | None) -> None:
        known = [name for name in offered if name in (PLAIN, BOUND)]
        channel = None if binding is None else (_BINDING, binding)
        self._client = ScramClient(known, _USER, password, channel_binding=channel)

    @property
    def mechanism(self) -> str:
        return str(self._client.mechanism_name)

    def first(self) -> str:
        return str(self._client.get_client_first())

    def final(self, server_first: str) -> str:
        """Slow: it makes the password's keys."""
        self._client.set_server_first(server_first)
        return str(self._client.get_client_final())

    def check(self, server_final: str) -> None:
        self._client.set_server_final(server_final)


def _first(server: ScramServer, message: str) -> str:
    flags, comma, bare = message.partition(",,")
    if bare.startswith("n=,"):
        server.set_client_first(f"{flags}{comma}n={_USER},{bare.removeprefix('n=,')}")
        server.client_first_bare = bare  # as the client has signed it
    else:
        server.set_client_first(message)
    return str(server.get_server_first())


def _final(server: ScramServer, message: str) -> str:
    server.set_client_final(message)
    return str(server.get_server_final())


def _checked(step: Callable[[], T]) -> T:
    try:
        return step()
    except ScramException as error:
        raise LoginFailed("SCRAM authentication failed", detail=f"{error}.") from None
