"""The addresses of a host's name, for HTTP steps.

Who chooses a name chooses the name servers, too, which may never answer: so a role's lookups keep
only its own other ones waiting.
"""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import Final

import httpcore

from durproxy.engine.threads import Threads

_OF_A_ROLE: Final = 8  # lookups at a time


class Names:
    """Asks the system's resolver."""

    def __init__(self) -> None:
        self._threads = Threads(_OF_A_ROLE)

    async def addresses(self, role: str, host: str, port: int) -> list[str]:
        """All that the name has now; an address has itself. Raises ConnectError."""
        if _is_address(host):
            return [host]
        try:
            found = await self._threads.run(role, _look_up, host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f'could not resolve host "{host}": {error}') from None
        return list(dict.fromkeys(found))


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return "%" not in host


def _look_up(host: str, port: int) -> list[str]:
    # as bytes: of a str the module would make something by an older rule of international names
    found = socket.getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for *_, sockaddr in found]
