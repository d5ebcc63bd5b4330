"""A connection from its first byte until it can be relayed: encryption, startup, login.

One trio task each, with a time limit for the whole. The login passes through end to end: client
and server take turns, and the proxy only watches whose turn it is, what the server reports, and
that nobody is let in whom the server would have turned away.
"""

from __future__ import annotations

import socket

import trio

from durproxy.errors import DurproxyError, ProtocolViolation, UpstreamUnreachable
from durproxy.log import get_logger
from durproxy.proxy import sockets
from durproxy.proxy.cancelling import forward_cancel
from durproxy.proxy.link import Link
from durproxy.proxy.shell import Shell
from durproxy.wire import backend, sqlstate, startup
from durproxy.wire.framing import HEADER_SIZE, MessageReader
from durproxy.wire.startup import CancelRequest, StartupMessage, UnsupportedVersion
from durproxy.wire.states import Event, State, next_state

log = get_logger(__name__)

_NO_ENCRYPTION = b"N"
_MOST_REQUESTS = 2  # one for TLS, one for GSSAPI
_LONGEST_ANSWER = 65535 + 4  # of a client in the login (PG_MAX_AUTH_TOKEN_LENGTH)
_LONGEST_REPLY = 1024 * 1024  # of the server in the login
_LAST_WORD_LIMIT = 2.0  # seconds for a client to take a refusal


class _Left(Exception):
    """The peer closed the connection in the middle."""


async def greet(shell: Shell, client: socket.socket) -> None:
    """Bring the client to the pump, or end the connection."""
    greeting = Greeting(shell, client)
    shell.counters.logins_now += 1
    try:
        with trio.fail_after(shell.settings.auth_timeout):
            await greeting.run()
    except trio.TooSlowError:
        log.info("connection.too_slow", peer=greeting.peer, state=greeting.state.value)
    except (_Left, OSError) as error:
        log.debug("connection.left", peer=greeting.peer, reason=str(error))
    except DurproxyError as error:
        shell.counters.refusals += 1
        log.warning("connection.refused", peer=greeting.peer, **_description(error))
        await greeting.refuse(error)
    except Exception:  # the connection's task is where its exceptions end
        log.exception("connection.failed", peer=greeting.peer)
    finally:
        shell.counters.logins_now -= 1
        greeting.close()


class Greeting:
    """One connection before it is relayed."""

    def __init__(self, shell: Shell, client: socket.socket) -> None:
        self.state = State.GREETING
        self.peer = sockets.peer_name(client)
        self._shell = shell
        self._client: socket.socket | None = client
        self._server: socket.socket | None = None
        self._from_client = MessageReader(_LONGEST_ANSWER)
        self._from_server = MessageReader(_LONGEST_REPLY)
        self._was_asked = False  # for a password, or any other proof

    async def run(self) -> None:
        assert self._client is not None
        sockets.tune(self._client)
        self._shell.pump.watch(self._client)
        received = await self._receive_request()
        if received is None:
            return
        if isinstance(received.message, CancelRequest):
            self._enter(Event.CANCEL_REQUESTED)
            await forward_cancel(self._shell, received.message)
            return
        assert isinstance(received.message, StartupMessage)
        self._enter(Event.STARTUP_RECEIVED)
        self._from_client.feed(received.rest)
        await self._log_in(received.message, received.raw)

    async def refuse(self, error: DurproxyError) -> None:
        """Tell the client why; it may not listen."""
        if self._client is None:
            return
        with trio.move_on_after(_LAST_WORD_LIMIT):
            try:
                await sockets.send_all(self._client, _farewell(error))
                self._client.shutdown(socket.SHUT_WR)
                while await sockets.receive(self._client):
                    pass  # closing with unread bytes would throw away what we said
            except OSError:
                pass

    def close(self) -> None:
        """What was not handed over."""
        for sock in (self._client, self._server):
            if sock is not None:
                sock.close()

    def _enter(self, event: Event) -> None:
        self.state = next_state(self.state, event)

    async def _receive_request(self) -> startup.Received | None:
        """The first message that is not about encryption; None if there will be none."""
        assert self._client is not None
        data = b""
        requests = 0
        while True:
            received = startup.maybe_parse_first(data, self._shell.settings.max_startup_packet)
            if received is None:
                more = await sockets.receive(self._client)
                if not more:
                    return None
                if not data and startup.wants_direct_tls(more):
                    log.warning(
                        "connection.tls_refused",
                        peer=self.peer,
                        hint="Direct TLS is not offered: use sslnegotiation=postgres.",
                    )
                    return None
                data += more
                continue
            if isinstance(received.message, StartupMessage | CancelRequest):
                return received
            self._enter(Event.ENCRYPTION_REQUESTED)
            requests += 1
            if requests > _MOST_REQUESTS:
                raise ProtocolViolation("too many requests for encryption")
            await sockets.send_all(self._client, _NO_ENCRYPTION)
            data = received.rest

    async def _log_in(self, message: StartupMessage, raw: bytes) -> None:
        self._server, place = await self._shell.upstream.connect()
        self._shell.pump.watch(self._server)
        self._enter(Event.UPSTREAM_CONNECTED)
        assert self._client is not None
        link = Link(
            self._shell,
            self._client,
            self._server,
            place=place,
            peer=self.peer,
            startup=message,
        )
        await sockets.send_all(self._server, raw)
        while self.state is not State.RELAYING:
            if self.state is State.ANSWERING:
                await self._pass_answer()
            else:
                await self._pass_reply(link)
            if self.state is State.CLOSED:
                return
        self._hand_over(link)

    async def _pass_answer(self) -> None:
        assert self._client is not None
        assert self._server is not None
        while (read := self._from_client.maybe_read()) is None:
            data = await sockets.receive(self._client)
            if not data:
                raise _Left("client left in the login")
            self._from_client.feed(data)
        self._enter(Event.ANSWER_RECEIVED)
        await sockets.send_all(self._server, read[1])

    async def _pass_reply(self, link: Link) -> None:
        """All whole messages that the server has sent, until it is the client's turn."""
        assert self._client is not None
        assert self._server is not None
        replies = bytearray()
        while self.state in (State.AUTHENTICATING, State.STARTING):
            read = self._from_server.maybe_read()
            if read is None:
                if replies:
                    break
                data = await self._receive_from_server()
                self._from_server.feed(data)
                continue
            kind, reply = read
            self._note_reply(link, kind, memoryview(reply)[HEADER_SIZE:])
            replies += reply
        await sockets.send_all(self._client, bytes(replies))

    async def _receive_from_server(self) -> bytes:
        assert self._server is not None
        try:
            data = await sockets.receive(self._server)
        except OSError:
            data = b""
        if not data:
            raise UpstreamLost(
                "the upstream server closed the connection during the login",
                hint="Its log may say why.",
            )
        return data

    def _note_reply(self, link: Link, kind: int, body: memoryview) -> None:
        if kind == backend.Authentication.kind:
            self._note_authentication(backend.Authentication.parse(body))
        elif kind == backend.ErrorResponse.kind:
            self._enter(Event.CONNECTION_ENDED)
        elif kind == backend.ParameterStatus.kind:
            self._enter(Event.SETTING_RECEIVED)
            setting = backend.ParameterStatus.parse(body)
            link.parameter_reported(setting.name, setting.value)
        elif kind == backend.BackendKeyData.kind:
            self._enter(Event.SETTING_RECEIVED)
            key = backend.BackendKeyData.parse(body)
            link.key = key.process_id, key.secret_key
        elif kind == backend.READY_FOR_QUERY:
            self._enter(Event.READY_RECEIVED)
            link.status = backend.ReadyForQuery.parse(body).status
        else:  # a notice, or what the server makes of the protocol version
            self._enter(Event.PROGRESS_RECEIVED)

    def _note_authentication(self, message: backend.Authentication) -> None:
        if message.wants_answer:
            self._was_asked = True
            self._enter(Event.CHALLENGE_RECEIVED)
        elif message.code != backend.AUTHENTICATION_OK:
            self._enter(Event.PROGRESS_RECEIVED)
        else:
            self._check_trust()
            self._enter(Event.LOGIN_ACCEPTED)

    def _check_trust(self) -> None:
        """A server that trusts the proxy's address must not thereby trust everybody."""
        assert self._client is not None
        if self._was_asked or self._shell.settings.allow_trust or sockets.is_local(self._client):
            return
        raise LoginRefused(
            "the upstream server asks for no password, which it would not do for your address",
            detail="It sees the proxy's address, not the client's.",
            hint="Let pg_hba.conf ask for a password where the proxy connects from,"
            " or start durproxy with --allow-trust.",
        )

    def _hand_over(self, link: Link) -> None:
        link.enter(Event.READY_RECEIVED)
        self._client = self._server = None
        link.attentive = self._shell.pump.draining
        self._shell.adopt(link)
        log.debug("connection.opened", peer=self.peer, user=link.user)
        link.take_initial(self._from_server.take_rest(), self._from_client.take_rest())


class UpstreamLost(UpstreamUnreachable):
    """The upstream server went away in the middle of a login."""

    sqlstate = sqlstate.CONNECTION_FAILURE


class LoginRefused(DurproxyError):
    """The login that the server accepted is not one that the proxy may pass on."""

    sqlstate = sqlstate.INVALID_AUTHORIZATION


def _farewell(error: DurproxyError) -> bytes:
    if isinstance(error, UnsupportedVersion) and error.major < startup.MAJOR:
        return backend.fatal_of_protocol_2(error.message)
    farewell = backend.fatal(error.sqlstate, error.message, detail=error.detail, hint=error.hint)
    return farewell.encode()


def _description(error: DurproxyError) -> dict[str, str | None]:
    return {"error": error.message, "sqlstate": error.sqlstate, "detail": error.detail}
