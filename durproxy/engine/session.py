"""Whose session a pooled step connection holds, and cleaning it for the next instance.

Steps of one instance may find settings, temp tables and locks that its earlier steps left, or may
not, since the connection may be another one; steps of another instance never do. The cleaning rides
in the next step's own statement, so it costs no round trip, and commits or rolls back with it.
Sessions that nobody takes are cleaned by their pool.
"""

from __future__ import annotations

from durproxy.engine.claim import Claim
from durproxy.engine.connection import Connection
from durproxy.engine.pools import CLEAN

UNKNOWN = "?"  # a statement that may have changed the session has failed, or is under way


def is_foreign(connection: Connection, claim: Claim) -> bool:
    """The session may hold what another instance left."""
    if connection.assumes is not None:  # it was discarded; the cleaning would end the SET ROLE
        return False
    return connection.session_of not in (None, claim.id)


async def clean_session(connection: Connection, claim: Claim) -> None:
    """Clean now, where no statement of ours is there to do it."""
    if is_foreign(connection, claim):
        await connection.run(CLEAN)
        connection.session_of = None
