"""What a proxy reads from the files that its settings name: all of it, or an error.

So a reload is one assignment after everything was found good, and what cannot be used changes
nothing. The supervisor loads it first, to refuse a start or a reload before any proxy is told.
"""

from __future__ import annotations

from dataclasses import dataclass

from durproxy.config import Settings
from durproxy.proxy.client_tls import ClientTls, load_client_tls
from durproxy.proxy.upstream import Upstream
from durproxy.proxy.user_list import UserList, load_user_list


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and what belongs to them."""

    settings: Settings
    upstream: Upstream
    client_tls: ClientTls | None
    user_list: UserList

    @property
    def loses_tls(self) -> bool:
        """Whether clients that only prefer TLS may end up without it, and not be told.

        SCRAM cannot pass where both sides have TLS, so libpq tries again on a side that has none.
        """
        return (
            self.client_tls is not None
            and not self.client_tls.required
            and self.upstream.tls.needed
            and self.settings.auth_file is None
        )


def load(settings: Settings) -> Loaded:
    """Everything anew; ConfigurationError names the option that is wrong."""
    return Loaded(
        settings,
        Upstream.from_conninfo(settings.upstream),
        load_client_tls(settings),
        load_user_list(settings.auth_file),
    )
