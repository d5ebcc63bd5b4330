"""The secrets of one call: where each may be sent, and how they are kept out of sight."""

from __future__ import annotations

from collections.abc import Mapping

from durproxy.engine.egress import EgressRefused
from durproxy.engine.egress_rules import Target
from durproxy.engine.redaction import Redactor, Trace
from durproxy.engine.secrets import Secrets

_PLACES = {
    "body": "the body",
    "path": "the path",
    "query": "the query",
    "url": "the place of a URL",
}


class UsedSecrets:
    """Values by name, fetched for one call of a role."""

    def __init__(self, role: str, fetched: Mapping[str, Trace], secrets: Secrets) -> None:
        self.values = {name: trace.value for name, trace in fetched.items()}
        self.role = role
        self._fetched = fetched
        self._secrets = secrets

    def redactor(self) -> Redactor:
        """For all that the role may use, and that is known by now, also what has been replaced."""
        known = self._secrets.known_to(self.role)
        return Redactor(dict.fromkeys((*self._fetched.values(), *known)))

    async def look_for(self, host: str) -> None:
        """Get to know what the role may have stored there by another call, and this one may get."""
        await self._secrets.look_for(self.role, host)

    def may_be_kept_at(self, host: str) -> bool:
        """Whether the role may send any secret there."""
        return bool(self._secrets.names_for(self.role, host))

    def check(self, name: str, place: str, target: Target) -> None:
        """Raises EgressRefused where the secret is not for this server, or not for this place."""
        if not self._secrets.may_be_sent(name, target.scheme, target.host):
            raise EgressRefused(
                f'secret "{name}" may not be sent to host "{target.host}" by {target.scheme}',
                f'The table "secrets.{name}" of the configuration has its hosts.',
            )
        if not self._secrets.may_stand(name, place):
            where = _PLACES.get(place) or f'header "{place.removeprefix("header:")}"'
            raise EgressRefused(
                f'secret "{name}" may not stand in {where}',
                f'The table "secrets.{name}" of the configuration has its places.',
            )

    def refused(self) -> None:
        """The server has not accepted them."""
        self._secrets.refused(self.values)


NO_SECRETS = UsedSecrets("", {}, Secrets({}))
