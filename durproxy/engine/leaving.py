"""Giving an instance back when what is known of it here is not to be trusted."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import datetime

from durproxy.engine.claim import Claim
from durproxy.errors import DurproxyError, NotHeld
from durproxy.log import get_logger

_log = get_logger(__name__)


async def released(claim: Claim, release: Awaitable[datetime | None]) -> datetime | None:
    """When it can be claimed again, as far as that is known: its release may fail, too."""
    try:
        return await release
    except NotHeld:
        _log.info("instance.lost", instance=claim.id)
    except DurproxyError as error:  # the tick will find that nobody here has it in memory
        _log.warning("instance.not_released", instance=claim.id, error=error.message)
    return None
