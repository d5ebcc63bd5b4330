"""Whether a client may come in whom the server has asked for no proof.

What the server judges then is the connection that it sees, which is the proxy's:

| it lets in by        | it has judged                         | who else than the proxy is that  |
|----------------------|---------------------------------------|----------------------------------|
| `peer`               | the user that the proxy runs as       | processes of the same user       |
| `trust`, unix socket | that the proxy reaches its socket     | at least processes of that user  |
| `trust`, TCP         | the address that the proxy comes from | not to be seen from here         |
| `ident`              | the user that the proxy runs as       | not to be told from `trust`      |
| `cert`               | the proxy's own certificate           | nobody                           |

So a client is let in only if it is a process of the proxy's own user, which the kernel says of
those on a unix socket, and the server was asked over one, too: it could have gone there itself. All
others need the setting ``allow_trust``. A relay of the same user stands for whoever it relays.
"""

from __future__ import annotations

import os
import socket

from durproxy.errors import DurproxyError
from durproxy.proxy import sockets
from durproxy.wire import sqlstate


class Untrusted(DurproxyError):
    """A login that the server's word is not enough for."""

    sqlstate = sqlstate.INVALID_AUTHORIZATION


def check_trust(client: socket.socket, server: socket.socket) -> None:
    """Untrusted unless the client is let in for what it is itself."""
    over_sockets = server.family == socket.AF_UNIX
    if over_sockets and sockets.peer_user_id(client) == os.geteuid():
        return
    by_socket = (
        ", connect through the proxy's unix socket as the user that durproxy runs as,"
        if over_sockets
        else ""
    )
    raise Untrusted(
        "the upstream server asks for no password, which it would not do for you",
        detail="It sees the proxy's user, address and certificate, not the client's.",
        hint=f"Let pg_hba.conf ask for a password where the proxy connects from{by_socket}"
        " or let everybody in who reaches the proxy, with its setting allow_trust.",
    )
