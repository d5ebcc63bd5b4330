"""What the configuration says of each role's HTTP calls: policy, limits, TLS, proxy, secrets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from durproxy.config import Settings
from durproxy.config_tables import quota_of
from durproxy.engine.core.http_config import find_secrets
from durproxy.engine.egress import EgressPolicy
from durproxy.engine.http_answer import Limits
from durproxy.engine.http_exchange import Route
from durproxy.engine.http_proxy import ForwardProxy
from durproxy.engine.http_tls import HttpTls
from durproxy.engine.names import Names
from durproxy.engine.secrets import Secrets
from durproxy.engine.used_secrets import UsedSecrets


class HttpRoutes:
    """Made once for an engine."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._policy = EgressPolicy.of(settings)
        self._tls = HttpTls.of(settings)
        self._names = Names()
        self._secrets = Secrets(settings.secrets)
        self._proxy = (
            None
            if settings.http_proxy is None
            else ForwardProxy.from_url(settings.http_proxy, resolves=settings.http_proxy_resolves)
        )

    def check_enabled(self) -> None:
        """Raises EgressRefused when there are no HTTP steps at all."""
        self._policy.check_enabled()

    async def route_for(self, role: str, config: Mapping[str, Any]) -> Route:
        """For one call with this configuration, its secrets fetched. Raises SecretUnavailable."""
        fetched = await self._secrets.values_for(role, find_secrets(config))
        used = UsedSecrets(role, fetched, self._secrets)
        limits = self._limits(role)
        return Route(role, self._policy, limits, self._tls, self._names, self._proxy, used)

    def _limits(self, role: str) -> Limits:
        settings = self._settings
        quota = quota_of(settings.quotas, role).result_bytes
        most = settings.http_max_response_bytes
        if quota is not None and quota < most:
            return Limits(settings.http_max_timeout, quota, of_quota=True)
        return Limits(settings.http_max_timeout, most)
