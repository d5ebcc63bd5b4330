"""A connection's first words: encryption, then a cancel or the start of a login.

One trio task each, with a time limit for this and the login together. States and events are those
of ``wire/states.py``. Encryption is asked for in the protocol, or a client begins with TLS at once;
what it sent behind its request, before the handshake, is an attack or a mistake, and refused.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from durproxy.errors import DurproxyError, ProtocolViolation
from durproxy.log import get_logger
from durproxy.proxy import sockets
from durproxy.proxy.cancelling import forward_cancel
from durproxy.proxy.client_tls import ClientTls
from durproxy.proxy.console import Console
from durproxy.proxy.login import Left, Login, LoginRefused
from durproxy.proxy.shell import Shell
from durproxy.proxy.tls import ALPN, handshake, reason, wrap
from durproxy.wire import backend, startup
from durproxy.wire.startup import CancelRequest, SSLRequest, StartupMessage, UnsupportedVersion
from durproxy.wire.states import Event, State, next_state

T = TypeVar("T")

log = get_logger(__name__)

_YES, _NO = b"S", b"N"
_MOST_REQUESTS = 2  # one for TLS, one for GSSAPI
_LAST_WORD_LIMIT = 2.0  # seconds for a client to take a refusal


async def greet(shell: Shell, client: socket.socket) -> None:
    """Bring the client to the pump, or end the connection; ``shell.login_begins`` was before."""
    greeting = Greeting(shell, client)
    try:
        try:
            console = await _guarded(shell, greeting, greeting.run)
        finally:
            shell.login_ends()
        if console is not None:
            await _guarded(shell, greeting, console.run)
    finally:
        greeting.close()


async def _guarded(shell: Shell, greeting: Greeting, part: Callable[[], Awaitable[T]]) -> T | None:
    """The connection's task is where its exceptions end, and those of its refusal."""
    try:
        return await _explained(shell, greeting, part)
    except Exception:  # one connection's fault, not the others'
        log.exception("connection.failed", peer=greeting.peer)
    return None


async def _explained(
    shell: Shell, greeting: Greeting, part: Callable[[], Awaitable[T]]
) -> T | None:
    """What ends a connection is written down, and told where there is somebody to be told."""
    try:
        return await part()
    except trio.TooSlowError:
        log.info("connection.too_slow", peer=greeting.peer, state=greeting.state.value)
    except ssl.SSLError as error:
        log.info("connection.tls_failed", peer=greeting.peer, reason=reason(error))
    except (Left, OSError) as error:
        log.debug("connection.left", peer=greeting.peer, reason=str(error))
    except DurproxyError as error:
        shell.counters.refusals += 1
        log.warning("connection.refused", peer=greeting.peer, **_description(error))
        await greeting.refuse(error)
    return None


class Greeting:
    """One connection before it is relayed."""

    def __init__(self, shell: Shell, client: socket.socket) -> None:
        self.peer = sockets.peer_name(client)
        self._shell = shell
        self._client = client
        self._state = State.GREETING
        self._tls: ClientTls | None = None  # once it is in use
        self._login: Login | None = None

    @property
    def state(self) -> State:
        return self._state if self._login is None else self._login.state

    async def run(self) -> Console | None:
        """Until the session is relayed, or is an administrator's; TooSlowError after a time."""
        with trio.fail_after(self._shell.settings.auth_timeout):
            return await self._run()

    async def _run(self) -> Console | None:
        sockets.tune(self._client)
        self._shell.pump.watch(self._client)
        with self._shell.strangers.one() as awaited:
            received = await self._receive_request()
        if awaited.cancelled_caught:
            log.info("connection.displaced", peer=self.peer)
            return None
        if received is None:
            return None
        if isinstance(received.message, CancelRequest):
            self._state = next_state(self._state, Event.CANCEL_REQUESTED)
            async with self._shell.cancels:
                await forward_cancel(self._shell, received.message)
            return None
        assert isinstance(received.message, StartupMessage)
        self._check_encryption()
        self._login = Login(self._shell, self._client, self.peer, received.message, self._tls)
        return await self._login.run(received.raw, received.rest)

    async def refuse(self, error: DurproxyError) -> None:
        """Tell the client why; it may not listen."""
        if self.state is State.RELAYING:
            return
        with trio.move_on_after(_LAST_WORD_LIMIT), self._shell.pump.dismissing():
            try:
                await sockets.send_all(self._client, _farewell(error))
                self._client.shutdown(socket.SHUT_WR)
                while await sockets.receive(self._client):
                    pass  # closing with unread bytes would throw away what we said
            except OSError:
                pass

    def close(self) -> None:
        """What was not handed over."""
        if self._login is not None:
            self._login.close()
        else:
            self._client.close()

    async def _receive_request(self) -> startup.Received | None:
        """The first message that is not about encryption; None if there will be none."""
        with self._shell.pump.dismissing():
            first = await sockets.peek(self._client)
        if first == startup.TLS_HANDSHAKE and not await self._begin_direct_tls():
            return None
        requests = 0
        data = b""
        while True:
            received = startup.maybe_parse_first(data, self._shell.settings.max_startup_packet)
            if received is None:
                with self._shell.pump.dismissing():
                    more = await sockets.receive(self._client)
                if not more:
                    return None
                data += more
                continue
            if isinstance(received.message, StartupMessage | CancelRequest):
                return received
            self._state = next_state(self._state, Event.ENCRYPTION_REQUESTED)
            requests += 1
            if requests > _MOST_REQUESTS:
                raise ProtocolViolation("too many requests for encryption")
            data = received.rest
            await self._answer(received.message, data)

    async def _answer(
        self, request: startup.SSLRequest | startup.GSSENCRequest, rest: bytes
    ) -> None:
        offered = self._shell.client_tls
        if self._tls is not None or offered is None or not isinstance(request, SSLRequest):
            await sockets.send_all(self._client, _NO)
            return
        if rest:
            raise ProtocolViolation(
                "received unencrypted data after SSL request",
                detail="This could be either a client-software bug or evidence of an attempted"
                " man-in-the-middle attack.",
            )
        await sockets.send_all(self._client, _YES)
        await self._begin_tls(offered)

    async def _begin_direct_tls(self) -> bool:
        offered = self._shell.client_tls
        if offered is None:
            log.warning(
                "connection.tls_refused",
                peer=self.peer,
                hint="TLS is not offered: set tls_cert and tls_key.",
            )
            return False
        await self._begin_tls(offered)
        assert isinstance(self._client, ssl.SSLSocket)
        if self._client.selected_alpn_protocol() != ALPN:
            raise ProtocolViolation(
                "received direct SSL connection request without ALPN protocol negotiation extension"
            )
        return True

    async def _begin_tls(self, offered: ClientTls) -> None:
        secured = wrap(offered.context, self._client, server_side=True)
        self._client = secured
        with self._shell.pump.dismissing():
            await handshake(secured)
        self._tls = offered

    def _check_encryption(self) -> None:
        offered = self._shell.client_tls
        if offered is None or not offered.required or self._tls is not None:
            return
        if self._client.family != socket.AF_UNIX:
            raise LoginRefused(
                "the connection is not encrypted, which the proxy requires",
                hint="Connect with sslmode=require, or better verify-full.",
            )


def _farewell(error: DurproxyError) -> bytes:
    if isinstance(error, UnsupportedVersion) and error.major < startup.MAJOR:
        return backend.fatal_of_protocol_2(error.message)
    farewell = backend.fatal(error.sqlstate, error.message, detail=error.detail, hint=error.hint)
    return farewell.encode()


def _description(error: DurproxyError) -> dict[str, str | None]:
    return {"error": error.message, "sqlstate": error.sqlstate, "detail": error.detail}
