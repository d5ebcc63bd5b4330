"""SCRAM as a party to it: towards the client as the server, towards the server as the client.

With TLS on both legs SCRAM cannot pass through: a client proves that it knows the password *and*
which certificate it sees, which is ours, or at least that it was offered no such proof, which a
server that did offer it takes for an attack. So both sides are played here, with the password from
the user list; the library ``scramp`` has the messages and the arithmetic.

The user list may have a role's *secret* instead, as the server keeps it (``rolpassword``). It lets
us check a client, and the client's proof then gives away the key with which the proof for the
server can be made, as long as the server's secret is the very same: of the same salt.

Each is a conversation without sockets: texts in, texts out. The steps are the library's own; what
it finds wrong is a ``LoginFailed``.
"""

from __future__ import annotations

import hmac
import re
from base64 import b64decode, b64encode
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
_UNUSED: Final = "none"  # the library wants a password, too
_REMEMBERED: Final = 1_000  # passwords whose keys are kept: each costs milliseconds

AuthInfo = tuple[bytes, bytes, bytes, int]  # salt, stored key, server key, iterations
T = TypeVar("T")

_BASE64 = "[A-Za-z0-9+/]+=*"
_SECRET = re.compile(rf"SCRAM-SHA-256\$(\d{{1,8}}):({_BASE64})\$({_BASE64}):({_BASE64})")


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


def maybe_secret(text: str) -> AuthInfo | None:
    """What such a text says if it is a secret in the server's form, and no password."""
    found = _SECRET.fullmatch(text)
    if found is None:
        return None
    try:
        salt, stored_key, server_key = (
            b64decode(part, validate=True) for part in found.groups()[1:]
        )
    except ValueError:
        return None
    return salt, stored_key, server_key, int(found[1])


class ServerSide:
    """We are the server."""

    def __init__(self, mechanism: str, info: AuthInfo, binding: bytes | None) -> None:
        self._info = info
        self._client_final = ""
        channel = None if binding is None else (_BINDING, binding)
        self._server: ScramServer = ScramMechanism(mechanism).make_server(lambda _: info, channel)

    def first(self, client_first: str) -> str:
        return _checked(lambda: _first(self._server, client_first))

    def final(self, client_final: str) -> str:
        """The answer that proves us; LoginFailed unless the client has proved itself."""
        self._client_final = client_final
        return _checked(lambda: _final(self._server, client_final))

    def client_key(self) -> bytes:
        """What the client, which has proved itself, has made its proof with."""
        _, stored_key, _, _ = self._info
        without_proof, _, proof = self._client_final.rpartition(",p=")
        said = (self._server.client_first_bare, self._server.server_first, without_proof)
        return _xor(b64decode(proof), _sign(stored_key, said))


class ClientSide:
    """We are the client, and have the password."""

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


class ClientSideWithKey(ClientSide):
    """We are the client, and have the secret and the key that it was made of."""

    def __init__(
        self, offered: Sequence[str], info: AuthInfo, client_key: bytes, binding: bytes | None
    ) -> None:
        super().__init__(offered, _UNUSED, binding)
        self._info = info
        self._client_key = client_key
        self._proof_of_server = b""

    def final(self, server_first: str) -> str:
        client = self._client
        client.set_server_first(server_first)
        salt, stored_key, server_key, iterations = self._info
        if (bytes(client.salt), int(client.iterations)) != (salt, iterations):
            raise StoredLoginFailed(
                "the SCRAM secret of auth_file is not the one that the server has",
                detail="It was made with another salt or number of iterations.",
                hint="Copy rolpassword from the server's pg_authid again, or put the password into"
                " that file.",
            )
        bound = b64encode(client.gs2_header.make_cbind_input(client.cb)).decode()
        without_proof = f"c={bound},r={client.nonce}"
        said = (client.client_first_bare, server_first, without_proof)
        self._proof_of_server = _sign(server_key, said)
        proof = b64encode(_xor(self._client_key, _sign(stored_key, said))).decode()
        return f"{without_proof},p={proof}"

    def check(self, server_final: str) -> None:
        if not hmac.compare_digest(server_final, f"v={b64encode(self._proof_of_server).decode()}"):
            raise ScramException("The server has not proved itself")


def _sign(key: bytes, said: Sequence[str]) -> bytes:
    return hmac.digest(key, ",".join(said).encode(), "sha256")


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


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
