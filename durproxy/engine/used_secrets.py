"""The secrets that one call uses: where each may be sent, and how they are kept out of sight."""

from __future__ import annotations

from collections.abc import Mapping

from durproxy.engine.egress import EgressRefused
from durproxy.engine.egress_rules import Target
from durproxy.engine.redaction import Redactor
from durproxy.engine.secrets import Secrets


class UsedSecrets:
    """Values by name, fetched for one call."""

    def __init__(self, values: Mapping[str, str], secrets: Secrets) -> None:
        self.values = values
        self.redactor = Redactor(values)
        self._secrets = secrets

    @property
    def names(self) -> list[str]:
        return list(self.values)

    def check(self, name: str, target: Target) -> None:
        """Raises EgressRefused where the secret is not for this server."""
        if not self._secrets.may_be_sent(name, target.scheme, target.host):
            raise EgressRefused(
                f'secret "{name}" may not be sent to host "{target.host}" by {target.scheme}',
                f'The table "secrets.{name}" of the configuration has its hosts.',
            )

    def refused(self) -> None:
        """The server has not accepted them."""
        self._secrets.refused(self.values)


NO_SECRETS = UsedSecrets({}, Secrets({}))
