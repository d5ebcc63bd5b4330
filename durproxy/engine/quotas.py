"""Quotas of roles as an engine has them: told to the database at the start, and kept for calls.

What df.start may take is checked in the server. An engine that starts, also after a reload, puts
its configuration there, and goes on trying while another session that changes quotas is in the way.
"""

from __future__ import annotations

import json

import trio

from durproxy.config import Settings
from durproxy.config_tables import quota_of
from durproxy.engine.connection import ConnectionLost, ServerError
from durproxy.engine.step_text import Shapes
from durproxy.engine.store import Store
from durproxy.errors import UpstreamUnreachable
from durproxy.log import get_logger

_log = get_logger(__name__)

_PAUSE = 0.5  # seconds between attempts
_PATIENCE = 10  # attempts before it is said


class Quotas:
    """The configured quotas, by role."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._quotas = settings.quotas
        self._most_bytes = settings.max_result_bytes

    def shapes_of(self, role: str) -> Shapes:
        """For steps of the role, with the limit of what one returns."""
        own = quota_of(self._quotas, role).result_bytes
        if own is not None and own < self._most_bytes:
            return Shapes(own, of_quota=True)
        return Shapes(self._most_bytes)

    async def put_in_force(self) -> None:
        """Returns when the database has them."""
        told = json.dumps(
            {
                role: {
                    "instances": quota.instances,
                    "queued": quota.queued,
                    "starts": quota.starts_per_minute,
                    "nodes": quota.nodes,
                }
                for role, quota in self._quotas.items()
            }
        )
        attempt = 0
        while not await self._set(told, is_late=attempt == _PATIENCE):
            attempt += 1
            await trio.sleep(_PAUSE)
        if self._quotas:
            _log.info("quotas.in_force", roles=sorted(self._quotas))

    async def _set(self, told: str, *, is_late: bool) -> bool:
        try:
            blocked_by = await self._store.set_quotas(told)
        except (ServerError, ConnectionLost, UpstreamUnreachable) as error:
            _log.warning("quotas.not_set", error=error.message)
            return False
        if blocked_by and is_late:
            _log.warning("quotas.waiting", blocked_by=blocked_by)
        return blocked_by is None

    async def wait_for_call(self, role: str, role_id: int) -> float:
        """Counts one HTTP call of the role: 0, or the seconds after which it may be made."""
        limit = quota_of(self._quotas, role).http_per_minute
        return 0.0 if limit is None else await self._store.spend_call(role_id, limit)
