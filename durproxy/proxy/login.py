"""From the startup packet to the first ReadyForQuery: the login passes through, end to end.

Client and server take turns; the proxy only watches whose turn it is, what the server reports, and
that nobody is let in whom the server would have turned away. States and events are those of
``wire/states.py``.

SCRAM is the exception where the server's leg has TLS (``vouching``): a proof that is bound to a
certificate is bound to the one that its maker sees. So what the server offers with such a proof is
not passed on, unless it has the very certificate that we have:

| client's leg | server's leg | what the client is offered                                     |
|--------------|--------------|----------------------------------------------------------------|
| any          | plain        | what the server offers                                         |
| plain        | TLS          | the same without channel binding, which it cannot use anyway   |
| TLS          | TLS          | our own exchange, if the user list has the password; otherwise |
|              |              | as above, for clients with channel_binding=disable             |
"""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

from durproxy.errors import DurproxyError, UpstreamUnreachable
from durproxy.log import get_logger
from durproxy.proxy import sockets
from durproxy.proxy.console import DATABASE, Console
from durproxy.proxy.link import Link
from durproxy.proxy.scram import BOUND
from durproxy.proxy.trust import check_trust
from durproxy.proxy.vouching import vouch
from durproxy.wire import backend, sqlstate
from durproxy.wire.framing import HEADER_SIZE, MessageReader
from durproxy.wire.frontend import TERMINATE, SASLInitialResponse
from durproxy.wire.startup import StartupMessage, encode_startup
from durproxy.wire.states import Event, State, next_state

if TYPE_CHECKING:
    from durproxy.proxy.client_tls import ClientTls
    from durproxy.proxy.shell import Shell

log = get_logger(__name__)

_LONGEST_ANSWER = 65535 + 4  # of a client in the login (PG_MAX_AUTH_TOKEN_LENGTH)
_LONGEST_REPLY = 1024 * 1024  # of the server in the login


class Left(Exception):
    """The client closed the connection in the middle."""


class UpstreamLost(UpstreamUnreachable):
    """The upstream server went away in the middle of a login."""

    sqlstate = sqlstate.CONNECTION_FAILURE


class LoginRefused(DurproxyError):
    """A login that the proxy may not, or cannot, pass on."""

    sqlstate = sqlstate.INVALID_AUTHORIZATION


class Login:
    """One client's."""

    def __init__(
        self,
        shell: Shell,
        client: socket.socket,
        peer: str,
        message: StartupMessage,
        tls: ClientTls | None,
    ) -> None:
        self.state = next_state(State.GREETING, Event.STARTUP_RECEIVED)
        self.message = message
        self.tls = tls  # of the client's leg
        self.shell = shell
        self._client = client
        self._server: socket.socket | None = None
        self._peer = peer
        self._link: Link | None = None
        self._from_client = MessageReader(_LONGEST_ANSWER)
        self._from_server = MessageReader(_LONGEST_REPLY)
        self._was_asked = False  # for a password, or any other proof
        self._handed_over = False  # to the pump, with both sockets
        self._unbound = False  # what the server offered with channel binding was left out
        administrators = shell.settings.admin_users or ()
        self._wants_console = bool(administrators) and message.database == DATABASE
        if self._wants_console and message.user not in administrators:
            raise LoginRefused(f'role "{message.user}" is not one of the setting admin_users')
        self._role: str | None = None  # once it is the client's, as far as limits go
        shell.limits.enter()

    async def run(self, raw: bytes, rest: bytes) -> Console | None:
        """Until the session is relayed, or the server has refused it; a console is the caller's."""
        self._from_client.feed(rest)
        if self._wants_console:
            raw = self._console_startup()
        else:
            await self.shell.wait_open()
        upstream = self.shell.upstream
        self._server, place = await upstream.connect()
        self.enter(Event.UPSTREAM_CONNECTED)
        self._link = Link(
            self.shell,
            self._client,
            self._server,
            upstream=upstream,
            place=place,
            peer=self._peer,
            startup=self.message,
        )
        await self.to_server(raw)
        while self.state is not State.RELAYING:
            if self.state is State.ANSWERING:
                await self._pass_answer()
            else:
                await self._pass_replies()
            if self.state is State.CLOSED:
                return None
        if self._wants_console:
            await self.to_server(TERMINATE)
            return Console(self.shell, self._client, self.message.user)
        self._hand_over()
        return None

    def close(self) -> None:
        """What was not handed over."""
        if self._handed_over:
            return
        self.shell.limits.leave(self._role)
        self._client.close()
        if self._server is not None:
            self._server.close()

    def enter(self, event: Event) -> None:
        self.state = next_state(self.state, event)

    # -- the two sides

    @property
    def link(self) -> Link:
        assert self._link is not None
        return self._link

    @property
    def server_certificate(self) -> bytes | None:
        """As DER; None if the server's leg is plain."""
        if not isinstance(self._server, ssl.SSLSocket):
            return None
        return self._server.getpeercert(binary_form=True)

    async def to_client(self, data: bytes) -> None:
        await sockets.send_all(self._client, data)

    async def to_server(self, data: bytes) -> None:
        assert self._server is not None
        await sockets.send_all(self._server, data)

    async def client_message(self) -> bytes:
        """The client's next answer, with its header."""
        while (read := self._from_client.maybe_read()) is None:
            with self.shell.pump.dismissing():
                data = await sockets.receive(self._client)
            if not data:
                raise Left("client left in the login")
            self._from_client.feed(data)
        return read[1]

    async def server_message(self) -> tuple[int, bytes]:
        """The server's next reply: its type, and all of it."""
        while (read := self._from_server.maybe_read()) is None:
            self._from_server.feed(await self._receive_from_server())
        return read

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

    # -- what passes

    async def _pass_answer(self) -> None:
        answer = await self.client_message()
        self._check_unbound(answer)
        self.enter(Event.ANSWER_RECEIVED)
        await self.to_server(answer)

    async def _pass_replies(self) -> None:
        """All whole messages that the server has sent, until it is the client's turn."""
        replies = bytearray()
        while self.state in (State.AUTHENTICATING, State.STARTING):
            read = self._from_server.maybe_read()
            if read is None:
                if replies:
                    break
                self._from_server.feed(await self._receive_from_server())
                continue
            kind, reply = read
            body = memoryview(reply)[HEADER_SIZE:]
            offered = backend.sasl_mechanisms(body) if kind == backend.Authentication.kind else None
            if offered is not None:
                if replies:  # what came before, a NegotiateProtocolVersion, is to be read before
                    await self.to_client(bytes(replies))
                    replies.clear()
                passing = await self._meet_sasl(offered)
                if passing is None:
                    continue
                reply = backend.encode_sasl(passing)
            self._note_reply(kind, body)
            replies += reply
        await self.to_client(bytes(replies))

    def _note_reply(self, kind: int, body: memoryview) -> None:
        if kind == backend.Authentication.kind:
            self._note_authentication(backend.Authentication.parse(body))
        elif kind == backend.ErrorResponse.kind:
            self.shell.counters.refusals += 1
            self.enter(Event.CONNECTION_ENDED)
        elif kind == backend.ParameterStatus.kind:
            self.enter(Event.SETTING_RECEIVED)
            setting = backend.ParameterStatus.parse(body)
            self.link.parameter_reported(setting.name, setting.value)
        elif kind == backend.BackendKeyData.kind:
            self.enter(Event.SETTING_RECEIVED)
            key = backend.BackendKeyData.parse(body)
            self.link.key = key.process_id, key.secret_key
        elif kind == backend.READY_FOR_QUERY:
            self.enter(Event.READY_RECEIVED)
            self.link.status = backend.ReadyForQuery.parse(body).status
        else:  # a notice, or what the server makes of the protocol version
            self.enter(Event.PROGRESS_RECEIVED)

    def _note_authentication(self, message: backend.Authentication) -> None:
        if message.wants_answer:
            self._was_asked = True
            self.enter(Event.CHALLENGE_RECEIVED)
        elif message.code != backend.AUTHENTICATION_OK:
            self.enter(Event.PROGRESS_RECEIVED)
        else:
            self._check_trust()
            self.shell.limits.become(self.message.user)
            self._role = self.message.user
            self.enter(Event.LOGIN_ACCEPTED)

    def _check_trust(self) -> None:
        """A server that trusts the proxy must not thereby trust everybody."""
        if not self._was_asked and not self.shell.settings.allow_trust:
            assert self._server is not None
            check_trust(self._client, self._server)

    # -- what cannot pass

    async def _meet_sasl(self, offered: tuple[str, ...]) -> tuple[str, ...] | None:
        """What the client is offered; None if it has proved itself, and we to the server."""
        certificate = self.server_certificate
        if certificate is None or (self.tls is not None and self.tls.certificate == certificate):
            return offered
        if self.tls is not None:
            place = self.link.place
            password = self.shell.user_list.password(
                place.name, place.port, self.message.database, self.message.user
            )
            if password is not None:
                self._was_asked = True
                await vouch(self, offered, password, self.tls.binding, certificate)
                return None
        unbound = tuple(name for name in offered if name != BOUND)
        self._unbound = unbound != offered
        if not unbound:
            raise _cannot_pass()
        return unbound

    def _check_unbound(self, answer: bytes) -> None:
        """A client that could have bound its proof says so; the server takes it for an attack."""
        if not self._unbound:
            return
        self._unbound = False
        first = SASLInitialResponse.parse(answer[HEADER_SIZE:])
        if first.mechanism == BOUND.encode() or (first.data or b"").startswith(b"y"):
            raise _cannot_pass()

    def _console_startup(self) -> bytes:
        """The login of an administrator, which is one to the home database."""
        names = {"user": self.message.user, "database": self.shell.upstream.database}
        return encode_startup(StartupMessage(self.message.version, names))

    def _hand_over(self) -> None:
        link = self.link
        link.enter(Event.READY_RECEIVED)
        self._handed_over = True
        link.attentive = self.shell.pump.draining or self.shell.pump.paused
        self.shell.adopt(link)
        log.debug("connection.opened", peer=self._peer, pid=link.pid, user=link.user)
        link.take_initial(self._from_server.take_rest(), self._from_client.take_rest())


def _cannot_pass() -> LoginRefused:
    return LoginRefused(
        "a SCRAM login cannot pass through TLS on both sides of the proxy",
        detail="What proves the password is bound to the certificate that the client sees,"
        " which is not the server's.",
        hint="Put the role's password into the file of durproxy's setting auth_file,"
        " or connect with channel_binding=disable.",
    )
