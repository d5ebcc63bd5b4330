"""httpx's way to the network, with every connection made to an address that the policy has seen.

The name is resolved here, judged, and the connection goes to that very address: a name that
resolves to something else a moment later changes nothing. Host header, SNI and certificate check
keep the name. What a call may receive is counted where it comes in. Nothing is shared between two
calls: no connection, no cookie, no proxy setting of the environment.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import httpcore
import httpx

from durproxy.engine.egress import Reach
from durproxy.engine.http_proxy import ForwardProxy

LookUp = Callable[[str, int], Awaitable[list[str]]]


class TooMuch(Exception):
    """The server has sent more than this call may receive."""


@dataclass(slots=True)
class Allowance:
    """How many bytes one call may still receive."""

    left: int

    def use(self, received: int) -> None:
        """Raises TooMuch when it is used up."""
        self.left -= received
        if self.left < 0:
            raise TooMuch


class VettedBackend(httpcore.AsyncNetworkBackend):
    """Connects by TCP to vetted addresses only, through the proxy where there is one."""

    def __init__(
        self,
        reach: Reach,
        look_up: LookUp,
        allowance: Allowance,
        proxy: ForwardProxy | None = None,
        proxy_context: ssl.SSLContext | None = None,
    ) -> None:
        self._reach = reach
        self._look_up = look_up
        self._allowance = allowance
        self._proxy = proxy
        self._proxy_context = proxy_context
        self._inner = httpcore.TrioBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 -- the interface's; the whole call has one
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A stream to the first address that answers. Raises EgressRefused, ConnectError."""
        failure: httpcore.ConnectError | None = None
        for address in await self._vetted(host, port):
            try:
                return await self._connect(address, port)
            except httpcore.ConnectError as error:
                failure = error
        raise failure or httpcore.ConnectError(f'host "{host}" has no address')

    async def _vetted(self, host: str, port: int) -> list[str]:
        if self._proxy is not None and self._proxy.resolves:
            self._reach.check_unresolved(host)
            return [host]
        addresses = await self._look_up(host, port)
        for address in addresses:  # one bad address among good ones is no accident
            self._reach.check_address(host, address)
        return addresses

    async def _connect(self, address: str, port: int) -> httpcore.AsyncNetworkStream:
        if self._proxy is None:
            stream = await self._inner.connect_tcp(address, port)
            return _Counted(stream, self._allowance)
        stream = await self._inner.connect_tcp(self._proxy.host, self._proxy.port)
        counted = _Counted(stream, self._allowance)
        return await self._proxy.tunnel(counted, self._proxy_context, address, port)


class _Counted(httpcore.AsyncNetworkStream):
    """A stream that stops receiving when the allowance is used up.

    Raised here, at the bottom, TooMuch unwinds all that reads from it.
    """

    def __init__(self, inner: httpcore.AsyncNetworkStream, allowance: Allowance) -> None:
        self._inner = inner
        self._allowance = allowance

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        received = await self._inner.read(max_bytes, timeout)
        self._allowance.use(len(received))
        return received

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        inner = await self._inner.start_tls(ssl_context, server_hostname, timeout)
        return _Counted(inner, self._allowance)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


@dataclass(frozen=True, slots=True)
class Hop:
    """How one request of a call gets to its server."""

    reach: Reach
    context: ssl.SSLContext


class VettedTransport(httpx.AsyncBaseTransport):
    """Sends httpx's requests, each over a connection of its own: what is right for one may not be
    for the next one to the same server.
    """

    def __init__(
        self,
        look_up: LookUp,
        allowance: Allowance,
        proxy: ForwardProxy | None = None,
        proxy_context: ssl.SSLContext | None = None,
    ) -> None:
        self._look_up = look_up
        self._allowance = allowance
        self._proxy = proxy
        self._proxy_context = proxy_context
        self._hop: Hop | None = None
        self._pools: list[httpcore.AsyncConnectionPool] = []

    def lead(self, hop: Hop) -> None:
        """Where the next request may go."""
        self._hop = hop

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        answer = await self._pool().handle_async_request(
            httpcore.Request(
                method=request.method,
                url=url,
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer))

    def _pool(self) -> httpcore.AsyncConnectionPool:
        hop, self._hop = self._hop, None
        assert hop is not None, "every request is judged"
        backend = VettedBackend(
            hop.reach, self._look_up, self._allowance, self._proxy, self._proxy_context
        )
        pool = httpcore.AsyncConnectionPool(ssl_context=hop.context, network_backend=backend)
        self._pools.append(pool)
        return pool

    async def aclose(self) -> None:
        for pool in self._pools:
            await pool.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._answer.aiter_stream():
            yield chunk

    async def aclose(self) -> None:
        await self._answer.aclose()
