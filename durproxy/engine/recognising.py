"""A worker looks where it is: in a restored copy it claims nothing until somebody acknowledges."""

from __future__ import annotations

import trio

from durproxy.child import announce_ready
from durproxy.config import Settings
from durproxy.engine.connection import Connection
from durproxy.engine.encoding import array_literal
from durproxy.log import get_logger
from durproxy.restored import addresses_of

_log = get_logger(__name__)

_LONGEST_PAUSE = 5.0  # seconds between two looks whether it was acknowledged


async def wait_recognised(life: Connection, settings: Settings) -> None:
    """Until this is the place where the home schema was at work before, or is to be from now on."""
    addresses = array_literal(addresses_of(settings.upstream))
    pause = min(_LONGEST_PAUSE, settings.poll_interval)
    held_back = False
    while True:
        answer = await life.run("SELECT df._recognise_1($1::text[])", (addresses,))
        reason = answer.one()[0]
        if reason is None:
            break
        if not held_back:
            held_back = True
            announce_ready()  # clients are served meanwhile
            _log.error(
                "engine.held_back", reason=reason,
                hint="If this database is to go on with its workflows:"
                " durproxy acknowledge-restore --upstream DSN",
            )  # fmt: skip
        await trio.sleep(pause)
    if held_back:
        _log.info("engine.acknowledged")
