"""One HTTP exchange: the request, its redirects, the answer; bounded in time and size."""

from __future__ import annotations

import base64
import logging
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import httpcore
import httpx
import trio

import durproxy
from durproxy.engine.egress import EgressPolicy, EgressRefused
from durproxy.engine.egress_rules import Target
from durproxy.engine.http_proxy import ForwardProxy
from durproxy.engine.http_request import HttpRequest
from durproxy.engine.http_tls import HttpTls
from durproxy.engine.http_transport import Allowance, Hop, TooMuch, VettedTransport
from durproxy.engine.names import Names
from durproxy.engine.used_secrets import NO_SECRETS, UsedSecrets

MAX_REDIRECTS = 5

_PORTS = {"http": 80, "https": 443}
_BESIDES_THE_BODY = 262_144  # bytes of headers, handshakes and redirects
_READABLE = ("identity", "gzip", "")
_GZIP = 16 + zlib.MAX_WBITS

_DEFAULTS = {
    "Accept": "*/*",
    "Accept-Encoding": "gzip",
    "User-Agent": f"durproxy/{durproxy.__version__}",
}
# what may follow a redirect to another origin; anything else may be a secret
_HARMLESS = frozenset(
    ("accept", "accept-encoding", "content-length", "content-type", "host", "user-agent")
)
_TEXTUAL = re.compile(
    r"(text/.+|.+/(.+\+)?(json|xml|yaml|javascript|ecmascript|graphql|x-www-form-urlencoded|"
    r"x-ndjson|json-seq|sql|toml))",
    re.IGNORECASE,
)
# Python knows codecs under names that no web page should be able to choose
_CHARSET = re.compile(
    r"utf-?(8|16|32)|us-ascii|ascii|latin1|iso-8859-\d+|windows-\d+|koi8-[ru]|shift_jis|euc-\w+|"
    r"gb\w+|big5",
    re.IGNORECASE,
)


# they log URLs, which may hold secrets
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)


class ExchangeFailure(Exception):
    """There is no answer that could be a result."""

    def __init__(self, message: str, sqlstate: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.sqlstate = sqlstate
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Limits:
    """What one exchange may cost."""

    timeout: float
    response_bytes: int
    of_quota: bool = False  # the bytes are the role's own limit


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer."""

    status: int
    headers: dict[str, str]
    body: str
    encoding: str


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
        told = route.used.redactor.text(failure.message)
        raise ExchangeFailure(told, failure.sqlstate, failure.hint) from None
    except Exception as error:  # a defect: what would be told of it may hold a secret
        if not route.used.names:
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
            raise _too_large(route.limits) from None
        except (httpx.InvalidURL, UnicodeError) as error:
            raise ExchangeFailure(f"invalid URL: {error}", "22023") from None
        except (*_NETWORK, OSError) as error:
            raise ExchangeFailure(f"HTTP request failed: {_reason(error)}", "WF022") from None
    raise ExchangeFailure(f"no complete HTTP answer within {timeout:g} s", "WF021")


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
        sent, carried = _first_request(client, request), route.used.names
        for _ in range(MAX_REDIRECTS + 1):
            transport.lead(_judged(sent, carried, route))
            response = await client.send(sent, stream=True)
            try:
                if response.next_request is None:
                    return await _read(response, route)
            finally:
                await response.aclose()
            sent = _followed(sent, response.next_request)
            carried = route.used.redactor.found_in(_outgoing(sent))
    raise ExchangeFailure(f"more than {MAX_REDIRECTS} HTTP redirects", "WF022")


def _judged(request: httpx.Request, carried: Iterable[str], route: Route) -> Hop:
    """How this request may be sent. Raises EgressRefused."""
    url = request.url
    target = Target(
        url.scheme,
        url.raw_host.decode("ascii"),
        url.port or _PORTS.get(url.scheme, 0),
        request.method,
        url.raw_path.decode("ascii").partition("?")[0],
    )
    if route.used.redactor.found_in(url.raw_host):  # name servers would be told
        raise EgressRefused("a secret cannot be the name of a host")
    reach = route.policy.judge(route.role, target)
    for name in carried:
        route.used.check(name, target)
    return Hop(reach, route.tls.context_for(route.role, target.host))


def _outgoing(request: httpx.Request) -> bytes:
    """All of a request that could have a secret in it; the parts of a multipart body have none."""
    texts = [str(request.url).encode(), *(text for _, text in request.headers.raw)]
    if isinstance(request.stream, httpx.ByteStream):
        texts += request.stream
    return b"\n".join(texts)


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


async def _read(response: httpx.Response, route: Route) -> Answer:
    content = b"".join([chunk async for chunk in response.aiter_raw()])
    encoding = response.headers.get("content-encoding", "identity")
    hidden = route.used.redactor
    if route.used.names and encoding.strip().lower() not in _READABLE:
        raise ExchangeFailure(
            f'content encoding "{encoding}" of an answer to a secret cannot be looked into', "WF022"
        )
    content = hidden.content(_unpacked(content, encoding, route.limits))
    body, encoding = decode_body(content, response.headers.get("content-type"))
    if encoding == "text":
        body = hidden.text(body)
    headers = {hidden.text(name): hidden.text(text) for name, text in response.headers.items()}
    return Answer(response.status_code, headers, body, encoding)


def _unpacked(content: bytes, encoding: str, limits: Limits) -> bytes:
    """The content without its compression, if that is the one that was asked for."""
    if encoding.strip().lower() == "gzip" and content:
        inflating = zlib.decompressobj(_GZIP)
        try:
            content = inflating.decompress(content, limits.response_bytes + 1)
        except zlib.error as error:
            raise ExchangeFailure(f"HTTP request failed: {error}", "WF022") from None
        if not inflating.eof and len(content) <= limits.response_bytes:
            raise ExchangeFailure("HTTP request failed: the gzip content breaks off", "WF022")
    if len(content) > limits.response_bytes:
        raise _too_large(limits)
    return content


def _too_large(limits: Limits) -> ExchangeFailure:
    return ExchangeFailure(
        f"the HTTP answer is larger than {limits.response_bytes} bytes",
        "53400" if limits.of_quota else "54000",
        'The limit is the role\'s quota "result_bytes".'
        if limits.of_quota
        else 'The setting "http_max_response_bytes" is the limit.',
    )


def decode_body(body: bytes, content_type: str | None) -> tuple[str, str]:
    """The body as text, or as base64 when it is none by its type or by its bytes.

    Text with a NUL goes as base64, too: jsonb cannot hold it.
    """
    kind, _, parameters = (content_type or "text/plain").partition(";")
    charset = _charset(parameters)
    if charset is not None and _TEXTUAL.fullmatch(kind.strip()):
        try:
            text = body.decode(charset)
            text.encode()  # a lone surrogate is none
        except (UnicodeError, LookupError):
            pass
        else:
            if "\0" not in text:
                return text, "text"
    return base64.b64encode(body).decode("ascii"), "base64"


def _charset(parameters: str) -> str | None:
    """The charset of a content type's parameters, if it is one that the web uses."""
    found = re.search(r'charset\s*=\s*"?([^\s";]+)', parameters, re.IGNORECASE)
    if found is None:
        return "utf-8"
    return found[1] if _CHARSET.fullmatch(found[1]) else None
