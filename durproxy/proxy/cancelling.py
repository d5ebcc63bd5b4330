"""Carries a CancelRequest to the server that its key belongs to.

The bytes go as they came, on a connection of their own, to the very place that the session is
connected to. A session whose statement is held has nothing running that could be cancelled: its
statement is let go first, and the cancel is repeated until the server has answered, because one
that arrives before the statement is lost. While one is under way the client is not read, so that
it cannot hit the client's next statement.

The request may come to another proxy than the session: the kernel spreads connections over all of
one `serve`. That one passes it on to the server as ever, and tells its siblings.
"""

from __future__ import annotations

import socket

import trio

from durproxy.proxy import sockets
from durproxy.proxy.link import Link
from durproxy.proxy.shell import Shell
from durproxy.wire.startup import CancelRequest, encode_cancel
from durproxy.wire.states import State

_REPEAT = 0.05  # seconds
_GIVE_UP = 5.0  # seconds


async def forward_cancel(shell: Shell, request: CancelRequest, raw: bytes) -> None:
    link = shell.link_with_key(request.process_id, request.secret_key)
    if link is None:  # it may be a sibling's, which knows whether it is held
        shell.tell_siblings_cancel(request)
    if link is None or not await cancel_held(shell, request.process_id, request.secret_key):
        await _send(shell, link, raw)


async def cancel_held(shell: Shell, process_id: int, secret_key: bytes) -> bool:
    """Let the session's held statement go, and cancel it there; False if none is held."""
    link = shell.link_with_key(process_id, secret_key)
    if link is None or not shell.holds.release(link):
        return False
    raw = encode_cancel(CancelRequest(process_id, secret_key))
    held = link.expected[0] if link.expected else None  # nothing but this was sent
    with trio.move_on_after(_GIVE_UP):
        while link.expected and link.expected[0] is held and link.state is not State.CLOSED:
            with link.client_waiting():
                await _send(shell, link, raw)
            await trio.sleep(_REPEAT)
    return True


async def _send(shell: Shell, link: Link | None, raw: bytes) -> None:
    """Returns when the server has taken it: it closes then."""
    if link is None:
        sock, _ = await shell.upstream.connect()
    else:
        sock = await shell.upstream.connect_to(link.place)
    with sock:
        await sockets.send_all(sock, raw)
        sock.shutdown(socket.SHUT_WR)
        while await sockets.receive(sock):
            pass
