"""TLS of HTTP steps: which authorities are trusted for a host, and which certificate it is shown.

The files are read again when they change, so certificates can be renewed under a running engine.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path

import httpx

from durproxy.config import Settings
from durproxy.config_tables import EVERYONE, HttpHost
from durproxy.engine.hosts import closest
from durproxy.errors import ConfigurationError

_Version = tuple[tuple[int, int], ...]
_PUBLIC_ONLY = HttpHost()


class HttpTls:
    """The contexts that calls have needed."""

    def __init__(self, hosts: Mapping[str, HttpHost], ca: Path | None = None) -> None:
        """`ca`: trusted for every host, beside the public authorities."""
        self._hosts = hosts
        self._ca = ca
        self._made: dict[tuple[HttpHost, bool], tuple[_Version, ssl.SSLContext]] = {}

    @classmethod
    def of(cls, settings: Settings) -> HttpTls:
        return cls(settings.http_hosts, settings.http_ca)

    def check(self) -> None:
        """Raises ConfigurationError for a file that cannot be used."""
        for pattern, host in {"": _PUBLIC_ONLY, **self._hosts}.items():
            option = f'"http_hosts.{pattern}"' if pattern else "option --http-ca"
            try:
                _make(host, self._ca, shows=host.cert is not None)
            except (OSError, ValueError) as error:
                raise ConfigurationError(f"could not use the files of {option}: {error}") from None

    def context_for(self, role: str, host: str) -> ssl.SSLContext:
        """Raises OSError when its files cannot be used now."""
        found = closest(host, self._hosts) or _PUBLIC_ONLY
        shows = found.cert is not None and bool({role, EVERYONE} & set(found.roles))
        version = _version([self._ca, found.ca, found.cert, found.key])
        made = self._made.get((found, shows))
        if made is None or made[0] != version:
            made = version, _make(found, self._ca, shows=shows)
            self._made[found, shows] = made
        return made[1]


def _version(files: list[Path | None]) -> _Version:
    found = [file.stat() for file in files if file is not None]
    return tuple((status.st_mtime_ns, status.st_ino) for status in found)


def _make(host: HttpHost, ca: Path | None, *, shows: bool) -> ssl.SSLContext:
    if host.ca is not None:
        context = ssl.create_default_context(cafile=host.ca)
    else:
        context = httpx.create_ssl_context(trust_env=False)
        if ca is not None:
            context.load_verify_locations(ca)
    if shows and host.cert is not None:
        # a key with a password would otherwise ask for it at the terminal
        context.load_cert_chain(host.cert, host.key, password=b"")
    return context
