"""Lets a client prove itself to us, and then proves to the server that it may be let in.

Both by SCRAM, with the password of the user list, or with the role's SCRAM secret, if that is the
very one that the server has. The server's word is the last: its settings for the role (VALID UNTIL,
NOLOGIN, CONNECTION LIMIT) hold as for any login. The keys of a password take milliseconds to make,
so that is another thread's work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from scramp.core import CBindData
from scramp.utils import ScramException

from durproxy.errors import ProtocolViolation
from durproxy.proxy.scram import (
    BOUND,
    PLAIN,
    AuthInfo,
    ClientSide,
    ClientSideWithKey,
    LoginFailed,
    ServerSide,
    StoredLoginFailed,
    auth_info,
    maybe_secret,
)
from durproxy.wire import backend
from durproxy.wire.framing import HEADER_SIZE
from durproxy.wire.frontend import SASLInitialResponse, SASLResponse
from durproxy.wire.states import Event

if TYPE_CHECKING:
    from durproxy.proxy.login import Login


async def vouch(
    login: Login,
    offered: tuple[str, ...],
    password: str,
    our_binding: bytes | None,
    server_certificate: bytes,
) -> None:
    """Both exchanges; what follows from the server passes as ever."""
    login.enter(Event.VOUCHING_STARTED)
    secret = maybe_secret(password)
    binding = _binding(server_certificate)
    theirs: ClientSide
    if secret is None:
        info = await trio.to_thread.run_sync(auth_info, login.message.user, password)
        await _meet_client(login, info, our_binding)
        theirs = ClientSide(offered, password, binding)
    else:
        proved = await _meet_client(login, secret, our_binding)
        theirs = ClientSideWithKey(offered, secret, proved.client_key(), binding)
    await _meet_server(login, theirs)
    login.enter(Event.VOUCHED)


async def _meet_client(login: Login, info: AuthInfo, binding: bytes | None) -> ServerSide:
    """The exchange in which the client has proved itself."""
    user = login.message.user
    mechanisms = (PLAIN,) if binding is None else (BOUND, PLAIN)
    await login.to_client(backend.encode_sasl(mechanisms))
    chosen = SASLInitialResponse.parse((await login.client_message())[HEADER_SIZE:])
    if chosen.mechanism.decode("latin-1") not in mechanisms or chosen.data is None:
        raise ProtocolViolation("client selected an invalid SASL authentication mechanism")
    ours = ServerSide(chosen.mechanism.decode(), info, binding)
    await login.to_client(backend.encode_sasl_continue(ours.first(_text(chosen.data))))
    answer = SASLResponse.parse((await login.client_message())[HEADER_SIZE:])
    try:
        proof = ours.final(_text(answer.data))
    except LoginFailed:
        raise LoginFailed(f'password authentication failed for user "{user}"') from None
    await login.to_client(backend.encode_sasl_final(proof))
    return ours


async def _meet_server(login: Login, theirs: ClientSide) -> None:
    try:
        await login.to_server(
            SASLInitialResponse(theirs.mechanism.encode(), theirs.first().encode()).encode()
        )
        challenge = await _receive(login, backend.AUTHENTICATION_SASL_CONTINUE)
        final = await trio.to_thread.run_sync(theirs.final, challenge)
        await login.to_server(SASLResponse(final.encode()).encode())
        theirs.check(await _receive(login, backend.AUTHENTICATION_SASL_FINAL))
    except ScramException as error:
        raise StoredLoginFailed(
            "the upstream server could not be logged in to with the password of auth_file",
            detail=f"{error}.",
        ) from None


async def _receive(login: Login, code: int) -> str:
    """The text of the next step, which must be this one."""
    kind, reply = await login.server_message()
    body = memoryview(reply)[HEADER_SIZE:]
    if kind == backend.ErrorResponse.kind:
        said = backend.ErrorResponse.parse(body).get("M") or b""
        raise StoredLoginFailed(
            "the upstream server does not accept the password of auth_file",
            detail=f"It says: {said.decode('utf-8', 'replace')}.",
            hint="Change the role's line in that file.",
        )
    if kind != backend.Authentication.kind or backend.Authentication.parse(body).code != code:
        raise ProtocolViolation("the upstream server left the SASL exchange")
    return _text(bytes(body[4:]))


def _binding(certificate: bytes) -> bytes | None:
    try:
        return bytes(CBindData.from_der(certificate))
    except ScramException:
        return None


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ProtocolViolation("a SASL message is not UTF-8") from None
