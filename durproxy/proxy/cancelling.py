"""Carries a CancelRequest to the server that its key belongs to, once, and when it has an effect.

The bytes go as they came, on a connection of their own, to the very server that the session is
connected to, and in the same way, whatever the settings are by now. The client's connection stays
open until the server has taken the cancel, since a client that waits for that (libpq does) may then
send its next statement without fear.

The request may come to another proxy than the session: the kernel spreads connections over all of
one `serve`, and one that takes over from another gets those for the other's sessions, too. So the
siblings are asked first, then the proxies of this user's other `serve`s, and whose session it is
carries it. A key that nobody here knows goes to every place of the upstream: it may be of a session
that is relayed on another machine, and a server that does not know it either does nothing.

A session whose statement waits here has nothing running that could be cancelled, and a cancel that
comes before its statement is lost. So a held statement is let go at once, one that is being read
as soon as that is over, and the cancel is repeated until the server has answered. While one is
under way the client is not read, so that it cannot hit the client's next statement.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import trio

from durproxy.bus import Cancel
from durproxy.log import get_logger
from durproxy.proxy import sockets
from durproxy.wire.startup import CancelRequest, encode_cancel
from durproxy.wire.states import State

if TYPE_CHECKING:
    from durproxy.proxy.link import Link
    from durproxy.proxy.shell import Shell
    from durproxy.proxy.upstream import Place, Upstream

log = get_logger(__name__)

_REPEAT = 0.05  # seconds
_GIVE_UP = 5.0  # seconds
_TAKEN = b"taken"


async def forward_cancel(shell: Shell, request: CancelRequest) -> None:
    """A cancel that a client has sent to this process."""
    shell.counters.cancels += 1
    link = shell.link_with_key(request)
    if link is not None:
        await _cancel(shell, link, request)
    elif not await shell.ask_siblings_cancel(request):
        upstream = shell.upstream
        for place in upstream.places:
            await _send(upstream, place, request)


async def cancel_here(shell: Shell, link: Link) -> None:
    """Of a session of ours, for our own reasons."""
    if link.key is not None:
        await _send_for(link, CancelRequest(*link.key))


async def cancel_for_sibling(shell: Shell, asked: Cancel) -> None:
    """A cancel that a client has sent to another process, if its session is here."""
    request = CancelRequest(asked.process_id, asked.secret_key)
    link = shell.link_with_key(request)
    if link is not None:
        await asked.reply.say(_TAKEN)
        await _cancel(shell, link, request)
    asked.reply.close()


async def _cancel(shell: Shell, link: Link, request: CancelRequest) -> None:
    if await _let_go(shell, link):
        await _repeat(link, request)
    elif link.state is not State.CLOSED:
        await _send_for(link, request)


async def _let_go(shell: Shell, link: Link) -> bool:
    """Bring the statement that waits here to the server; False if the server has one already."""
    if link.expected or link.mid_group:
        return False
    waited = link.state is State.PLANNING
    while link.state is State.PLANNING:
        await link.wait_released()
    return shell.holds.release(link) or waited


async def _repeat(link: Link, request: CancelRequest) -> None:
    statement = link.expected[0] if link.expected else None  # nothing but this was sent
    with trio.move_on_after(_GIVE_UP):
        while link.expected and link.expected[0] is statement and link.state is not State.CLOSED:
            with link.client_waiting():
                await _send_for(link, request)
            await trio.sleep(_REPEAT)


async def _send_for(link: Link, request: CancelRequest) -> None:
    await _send(link.upstream, link.place, request, link.server)


async def _send(
    upstream: Upstream, place: Place, request: CancelRequest, beside: socket.socket | None = None
) -> None:
    """Returns when the server has taken it: it closes then."""
    try:
        sock = await upstream.connect_to(place, beside)
        with sock:
            await sockets.send_all(sock, encode_cancel(request))
            sock.shutdown(socket.SHUT_WR)
            while await sockets.receive(sock):
                pass
    except (OSError, trio.TooSlowError) as error:
        log.warning("cancel.failed", place=str(place), error=str(error))
