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


def load(settings: Settings) -> Loaded:
    """Everything anew; ConfigurationError names the option that is wrong."""
    return Loaded(
        settings,
        Upstream.from_conninfo(settings.upstream),
        load_client_tls(settings),
        load_user_list(settings.auth_file),
    )
