"""One HTTP exchange: the request, its redirects, the answer; bounded in time and size."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import httpcore
import httpx
import trio

import durproxy
from durproxy.engine.egress import EgressPolicy, EgressRefused
from durproxy.engine.egress_rules import Target
from durproxy.engine.http_answer import Answer, ExchangeFailure, Limits, read_answer, too_large
from durproxy.engine.http_proxy import ForwardProxy
from durproxy.engine.http_request import HttpRequest
from durproxy.engine.http_tls import HttpTls
from durproxy.engine.http_transport import Allowance, Hop, TooMuch, VettedTransport
from durproxy.engine.long_texts import work_on
from durproxy.engine.names import Names
from durproxy.engine.redaction import Redactor
from durproxy.engine.used_secrets import NO_SECRETS, UsedSecrets

MAX_REDIRECTS = 5

_PORTS = {"http": 80, "https": 443}
_BESIDES_THE_BODY = 262_144  # bytes of headers, handshakes and redirects
_MOST_TOLD = 1000  # characters of what went wrong, which may quote the server

_DEFAULTS = {
    "Accept": "*/*",
    "Accept-Encoding": "gzip",
    "User-Agent": f"durproxy/{durproxy.__version__}",
}
# what may follow a redirect to another origin; anything else may be a secret
_HARMLESS = frozenset(
    ("accept", "accept-encoding", "content-length", "content-type", "host", "user-agent")
)
# they log URLs, which may hold secrets
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class Route:
    """Whose call it is, and what the configuration says of it."""

    role: str
    policy: EgressPolicy
    limits: Limits
    tls: HttpTls
    names: Names
    proxy: ForwardProxy | None = None
    used: UsedSecrets = NO_SECRETS


async def exchange(request: HttpRequest, route: Route) -> Answer:
    """Send the request and read the whole answer. Raises ExchangeFailure.

    Neither the answer nor the failure has a secret in it.
    """
    try:
        return await _bounded(request, route)
    except ExchangeFailure as failure:
        told = route.used.redactor().text(failure.message)[:_MOST_TOLD]
        raise ExchangeFailure(told, failure.sqlstate, failure.hint) from None
    except Exception as error:  # a defect: what would be told of it may hold a secret
        if not route.used.redactor():
            raise
        raise ExchangeFailure(f"HTTP request failed: {type(error).__name__}", "WF022") from None


async def _bounded(request: HttpRequest, route: Route) -> Answer:
    timeout = min(request.timeout, route.limits.timeout)
    with trio.move_on_after(timeout):
        try:
            return await _exchange(request, route)
        except EgressRefused as refusal:
            raise ExchangeFailure(str(refusal), "WF023", refusal.hint) from None
        except TooMuch:
            raise too_large(route.limits) from None
        except (httpx.InvalidURL, UnicodeError) as error:
            raise ExchangeFailure(f"invalid URL{_quoted(error, route)}", "22023") from None
        except httpx.RemoteProtocolError as error:  # the others are httpcore's
            told = f"the server redirects to no valid URL{_quoted(error, route)}"
            raise ExchangeFailure(told, "WF022") from None
        except (*_NETWORK, OSError) as error:
            raise ExchangeFailure(f"HTTP request failed: {_reason(error)}", "WF022") from None
    raise ExchangeFailure(f"no complete HTTP answer within {timeout:g} s", "WF021")


def _quoted(error: Exception, route: Route) -> str:
    """What it says, which quotes a piece of a URL; of a secret, a piece would not be found."""
    return "" if route.used.redactor() else f": {error}"


def _reason(error: BaseException) -> str:
    """What it says, or what it came from says: a failed handshake is two errors away."""
    cause: BaseException | None = error
    while cause is not None and not str(cause):
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__ if cause is None else str(cause)


_NETWORK = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    httpx.HTTPError,
    httpx.StreamError,
)


async def _exchange(request: HttpRequest, route: Route) -> Answer:
    allowance = Allowance(route.limits.response_bytes + _BESIDES_THE_BODY)
    proxy_context = None
    if route.proxy is not None and route.proxy.encrypted:
        proxy_context = route.tls.context_for(route.role, route.proxy.host)
    look_up = partial(route.names.addresses, route.role)
    transport = VettedTransport(look_up, allowance, route.proxy, proxy_context)
    async with httpx.AsyncClient(transport=transport, timeout=None, trust_env=False) as client:  # noqa: S113
        sent, carried = _first_request(client, request), request.secrets
        for _ in range(MAX_REDIRECTS + 1):
            hop = _judged(sent, carried, route)
            host = _host(sent)
            await route.used.look_for(host)
            transport.lead(hop)
            response = await client.send(sent, stream=True)
            try:
                if response.next_request is None:
                    return await read_answer(response, host, route.limits, route.used)
            finally:
                await response.aclose()
            sent = _followed(sent, response.next_request)
            hidden, size = route.used.redactor(), len(request.body or b"")
            carried = await work_on(size, route.role, _secrets_of, sent, hidden)
    raise ExchangeFailure(f"more than {MAX_REDIRECTS} HTTP redirects", "WF022")


def _judged(request: httpx.Request, carried: Iterable[tuple[str, str]], route: Route) -> Hop:
    """How this request may be sent, with secrets in these places. Raises EgressRefused."""
    url = request.url
    target = Target(
        url.scheme,
        _host(request),
        url.port or _PORTS.get(url.scheme, 0),
        request.method,
        url.raw_path.decode("ascii").partition("?")[0],
    )
    if url.port is not None and not 0 < url.port < 65536:  # sockets cannot be given more
        raise httpx.InvalidURL(f"invalid port {url.port}")
    if route.used.redactor().found_in(url.raw_host):  # name servers would be told
        raise EgressRefused("a secret cannot be the name of a host")
    reach = route.policy.judge(route.role, target)
    for name, place in carried:
        route.used.check(name, place, target)
    return Hop(reach, route.tls.context_for(route.role, target.host))


def _host(request: httpx.Request) -> str:
    return request.url.raw_host.decode("ascii")


def _secrets_of(request: httpx.Request, hidden: Redactor) -> frozenset[tuple[str, str]]:
    """The secrets in a request that a server has led to, and their places."""
    return frozenset(_found_in(request, hidden))


def _found_in(request: httpx.Request, hidden: Redactor) -> Iterator[tuple[str, str]]:
    path, _, query = request.url.raw_path.partition(b"?")
    pieces = {"path": path, "query": query, "header:authorization": request.url.userinfo}
    found = [(name, place) for place in pieces for name in hidden.found_in(pieces[place])]
    yield from found
    whole = hidden.found_in(str(request.url).encode())
    yield from ((name, "url") for name in whole if name not in dict(found))
    for header, text in request.headers.raw:
        place = f"header:{header.decode('latin-1').lower()}"
        yield from ((name, place) for name in hidden.found_in(text))
    if isinstance(request.stream, httpx.ByteStream):  # the parts of a multipart body have none
        yield from ((name, "body") for name in hidden.found_in(b"".join(request.stream)))


def _first_request(client: httpx.AsyncClient, request: HttpRequest) -> httpx.Request:
    client.headers = httpx.Headers(_DEFAULTS)
    # as bytes: httpx would take str for ASCII
    headers = [(name.encode(), text.encode()) for name, text in request.headers.items()]
    if not request.parts:
        return client.build_request(
            request.method, request.url, headers=headers, content=request.body
        )
    files = [
        (part.name, (part.filename, part.data, part.content_type or "application/octet-stream"))
        for part in request.parts
    ]
    return client.build_request(request.method, request.url, headers=headers, files=files)


def _followed(before: httpx.Request, after: httpx.Request) -> httpx.Request:
    """The next request, without what is meant for the first origin only."""
    if before.url.scheme == "https" and after.url.scheme == "http":
        raise EgressRefused(f'a redirect to host "{after.url.host}" leaves TLS')
    if _origin(before.url) != _origin(after.url):
        for name in [name for name in after.headers if name.lower() not in _HARMLESS]:
            del after.headers[name]
    return after


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
