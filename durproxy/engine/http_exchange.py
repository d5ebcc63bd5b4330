"""One HTTP exchange: the request, its redirects, the answer; bounded in time and size."""

from __future__ import annotations

import base64
import re
import ssl
import zlib
from dataclasses import dataclass

import httpcore
import httpx
import trio

import durproxy
from durproxy.engine.egress import EgressPolicy, EgressRefused
from durproxy.engine.http_request import HttpRequest
from durproxy.engine.http_transport import Allowance, TooMuch, VettedBackend, VettedTransport

MAX_REDIRECTS = 5

_BESIDES_THE_BODY = 262_144  # bytes of headers, handshakes and redirects
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


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer."""

    status: int
    headers: dict[str, str]
    body: str
    encoding: str


async def exchange(
    request: HttpRequest, policy: EgressPolicy, limits: Limits, context: ssl.SSLContext
) -> Answer:
    """Send the request and read the whole answer. Raises ExchangeFailure."""
    timeout = min(request.timeout, limits.timeout)
    with trio.move_on_after(timeout):
        try:
            return await _exchange(request, policy, limits, context)
        except EgressRefused as refusal:
            raise ExchangeFailure(str(refusal), "WF023", refusal.hint) from None
        except TooMuch:
            raise _too_large(limits) from None
        except (httpx.InvalidURL, UnicodeError) as error:
            raise ExchangeFailure(f"invalid URL: {error}", "22023") from None
        except (*_NETWORK, OSError) as error:
            reason = str(error) or type(error).__name__
            raise ExchangeFailure(f"HTTP request failed: {reason}", "WF022") from None
    raise ExchangeFailure(f"no complete HTTP answer within {timeout:g} s", "WF021")


_NETWORK = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    httpx.HTTPError,
    httpx.StreamError,
)


async def _exchange(
    request: HttpRequest, policy: EgressPolicy, limits: Limits, context: ssl.SSLContext
) -> Answer:
    backend = VettedBackend(policy, Allowance(limits.response_bytes + _BESIDES_THE_BODY))
    transport = VettedTransport(backend, context)
    async with httpx.AsyncClient(transport=transport, timeout=None, trust_env=False) as client:  # noqa: S113
        sent = _first_request(client, request)
        for _ in range(MAX_REDIRECTS + 1):
            policy.check_url(sent.url.scheme, sent.url.raw_host.decode("ascii"))
            response = await client.send(sent, stream=True)
            try:
                if response.next_request is None:
                    return await _read(response, limits)
            finally:
                await response.aclose()
            sent = _followed(sent, response.next_request)
    raise ExchangeFailure(f"more than {MAX_REDIRECTS} HTTP redirects", "WF022")


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
    if _origin(before.url) != _origin(after.url):
        for name in [name for name in after.headers if name.lower() not in _HARMLESS]:
            del after.headers[name]
    return after


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


async def _read(response: httpx.Response, limits: Limits) -> Answer:
    content = b"".join([chunk async for chunk in response.aiter_raw()])
    content = _unpacked(content, response.headers.get("content-encoding", "identity"), limits)
    body, encoding = decode_body(content, response.headers.get("content-type"))
    return Answer(response.status_code, dict(response.headers), body, encoding)


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
        "54000",
        hint='The setting "http_max_response_bytes" is the limit.',
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
