"""Connections through the forward proxy of the configuration: a tunnel for each, also for http.

The proxy is told the address that was vetted, so that no name is resolved a second time.
"""

from __future__ import annotations

import base64
import ssl
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import httpcore


@dataclass(frozen=True, slots=True)
class ForwardProxy:
    """Where it is. `resolves`: it is told names, and where they lead is for it to judge."""

    host: str
    port: int
    encrypted: bool
    credentials: str | None = field(repr=False)
    resolves: bool = False

    @classmethod
    def from_url(cls, url: str, *, resolves: bool) -> ForwardProxy:
        """`url` is the setting's, which was checked when it was read."""
        parts = urlsplit(url)
        encrypted = parts.scheme == "https"
        credentials = None
        if parts.username is not None:
            credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        port = parts.port or (443 if encrypted else 80)
        return cls(parts.hostname or "", port, encrypted, credentials, resolves)

    async def tunnel(
        self,
        stream: httpcore.AsyncNetworkStream,
        context: ssl.SSLContext | None,
        host: str,
        port: int,
    ) -> httpcore.AsyncNetworkStream:
        """`stream` is a connection to the proxy, `context` for TLS with it.

        Raises ConnectError when the proxy refuses.
        """
        if self.encrypted:
            assert context is not None
            stream = await stream.start_tls(context, self.host)
        origin = httpcore.Origin(b"http", self.host.encode("ascii"), self.port)
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        url = httpcore.URL(
            scheme=origin.scheme, host=origin.host, port=origin.port, target=target.encode("ascii")
        )
        headers = [("Host", target)]
        if self.credentials is not None:
            token = base64.b64encode(self.credentials.encode()).decode("ascii")
            headers.append(("Proxy-Authorization", f"Basic {token}"))
        connection = httpcore.AsyncHTTP11Connection(origin, stream)
        answer = await connection.handle_async_request(
            httpcore.Request("CONNECT", url, headers=headers)
        )
        if not 200 <= answer.status < 300:
            await connection.aclose()
            raise httpcore.ConnectError(f"the proxy answers CONNECT with status {answer.status}")
        tunnelled: httpcore.AsyncNetworkStream = answer.extensions["network_stream"]
        return tunnelled
