"""Where HTTP steps may go: decisions about URLs and addresses, without touching the network.

A name says nothing about where it leads, so there are two looks. The URL is judged when it is
known, that of a redirect like the first; what comes of it, a `Reach`, judges the address that the
connection is then made to. A bare address in a URL is refused whatever it is, unless it is listed
by itself or private addresses are allowed; any host that resolvers would take for a number counts
as one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from durproxy.config import Settings
from durproxy.config_tables import HttpRule
from durproxy.engine.addresses import Network, is_bare_ip, is_private, is_public, parse_address
from durproxy.engine.egress_rules import Target, check_path, first_match, rules_of
from durproxy.engine.hosts import any_matches, plain_host

PlainHttp = Literal["never", "private", "always"]

_SCHEMES = ("http", "https")
_BARE_HINT = (
    "A name may lead there; addresses themselves need the setting http_allowed_hosts, which names"
    " each, or http_allow_private."
)
_PLAIN_HINT = 'Use https, or allow it by the setting http_plain or a rule with schemes = ["http"].'


class EgressRefused(Exception):
    """The policy does not let the request go there. `hint`: what setting would."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Reach:
    """The addresses that one request may be sent to."""

    allow_private: bool = False
    allow_plain: bool = True  # to public addresses, without encryption
    networks: tuple[Network, ...] = ()  # if there are any: only to these

    def check_address(self, host: str, text: str) -> None:
        """Raises EgressRefused when `host` led to an address that the request may not reach."""
        address = parse_address(text)
        public = is_public(address)
        if self.networks:
            if (public or is_private(address)) and any(
                address.version == network.version and address in network
                for network in self.networks
            ):
                return
            raise EgressRefused(
                f'host "{host}" has the address {text}, which is in no network of its rule'
            )
        if not (public or (self.allow_private and is_private(address))):
            raise EgressRefused(f'host "{host}" has the address {text}, which is not public')
        if public and not self.allow_plain:
            raise _too_plain(host)

    def check_unresolved(self, host: str) -> None:
        """The same when another will resolve the name, and nobody here can look where it leads."""
        if is_bare_ip(host):
            try:
                self.check_address(host, host)
            except ValueError:  # another notation than addresses are written in
                raise EgressRefused(f'host "{host}" is a bare IP address', _BARE_HINT) from None
        elif self.networks:
            raise EgressRefused(
                f'host "{host}" may lead to its rule\'s networks only, and the proxy resolves it'
            )
        elif not self.allow_plain:
            raise _too_plain(host)


def _too_plain(host: str) -> EgressRefused:
    return EgressRefused(f'host "{host}" is public, and the URL is not encrypted', _PLAIN_HINT)


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """What the configuration allows. `allowed_hosts`: names, or `*.name`; none: any host."""

    enabled: bool = True
    allow_private: bool = False
    allowed_hosts: tuple[str, ...] = ()
    plain: PlainHttp = "private"
    rules: tuple[HttpRule, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> EgressPolicy:
        return cls(
            settings.http_enabled,
            settings.http_allow_private,
            settings.http_allowed_hosts,
            settings.http_plain,
            settings.http_rules,
        )

    def check_enabled(self) -> None:
        """Raises EgressRefused when there are no HTTP steps at all."""
        if not self.enabled:
            raise EgressRefused(
                "df.http() is disabled: outbound HTTP requests are disabled by the configuration"
            )

    def judge(self, role: str, target: Target) -> Reach:
        """Where a request of the role may lead. Raises EgressRefused when it may not be made."""
        if target.scheme not in _SCHEMES:
            raise EgressRefused(f'unsupported URL scheme "{target.scheme}"')
        if not target.host:
            raise EgressRefused("the URL names no host")
        listed = any_matches(target.host, self.allowed_hosts)
        if self.allowed_hosts and not listed:
            raise EgressRefused(f'host "{target.host}" is not in the allowed hosts')
        rule = self._rule(role, target)
        names_it = rule is not None and (
            bool(rule.networks) or plain_host(target.host) in rule.hosts
        )
        if is_bare_ip(target.host) and not (listed or names_it or self.allow_private):
            raise EgressRefused(f'host "{target.host}" is a bare IP address', _BARE_HINT)
        if rule is not None:
            return Reach(self.allow_private, networks=rule.networks)
        return self._default(target)

    def _rule(self, role: str, target: Target) -> HttpRule | None:
        """The rule that allows it; None where no rule is about it."""
        rules = rules_of(role, self.rules)
        if (reason := check_path(target, rules)) is not None:
            raise EgressRefused(reason)
        found = first_match(rules, target)
        if found is None and not any(rule.action == "allow" for rule in rules):
            return None
        if found is None or found.action == "deny":
            raise EgressRefused(
                f'no rule allows role "{role}" {target}'
                if found is None
                else f'a rule denies role "{role}" {target}',
                'The setting "http_rules" has the rules.',
            )
        return found

    def _default(self, target: Target) -> Reach:
        if target.scheme == "http" and self.plain == "never":
            raise EgressRefused("the URL is not encrypted", _PLAIN_HINT)
        return Reach(self.allow_private, target.scheme == "https" or self.plain == "always")
