"""Logging in for the engine: with the password that a command gives, where one is set."""

from __future__ import annotations

from typing import Final

from durproxy import passwords
from durproxy.engine.connection import Connection
from durproxy.engine.threads import Threads
from durproxy.errors import UpstreamUnreachable

# shared by all that log in, by connection string: who asks for the same password at the same time
# waits for it anyway
_asking: Final = Threads(1)


async def log_in(conninfo: str) -> Connection:
    """A new connection. Raises UpstreamUnreachable."""
    if not passwords.is_asked_for(conninfo):
        return await Connection.connect(conninfo)
    try:
        return await Connection.connect(await _with_password(conninfo))
    except UpstreamUnreachable:
        if not passwords.was_refused(conninfo):
            raise
    return await Connection.connect(await _with_password(conninfo))


async def _with_password(conninfo: str) -> str:
    return await _asking.run(conninfo, passwords.with_password, conninfo)
