"""What becomes of an answer: its content unpacked, without secrets, as text or as base64.

What is packed in a way that is not looked into here, or is a part of something, could have a secret
in it that nobody finds: a role that may use secrets does not get it.
"""

from __future__ import annotations

import base64
import re
import zlib
from dataclasses import dataclass

import httpx

from durproxy.engine.long_texts import LONG, work_on
from durproxy.engine.redaction import Redactor
from durproxy.engine.used_secrets import UsedSecrets

_READABLE = ("identity", "gzip", "")
_PARTIAL = 206
_MOST_MEMBERS = 16  # of one gzip content; each costs a copy of what follows it
_MAGIC = b"\x1f\x8b"
_GZIP = 16 + zlib.MAX_WBITS

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
    of_quota: bool = False  # the bytes are the role's own limit


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer."""

    status: int
    headers: dict[str, str]
    body: str
    encoding: str


async def read_answer(
    response: httpx.Response, host: str, limits: Limits, used: UsedSecrets
) -> Answer:
    """The whole answer of that server. Raises ExchangeFailure."""
    content = b"".join([chunk async for chunk in response.aiter_raw()])
    hidden = used.redactor()
    if hidden:
        _check_searchable(response, host, used)
    size = LONG if "content-encoding" in response.headers else len(content)  # unpacked: any
    return await work_on(size, used.role, _answer, response, content, hidden, limits)


def _check_searchable(response: httpx.Response, host: str, used: UsedSecrets) -> None:
    encoding = response.headers.get("content-encoding", "")
    if encoding.strip().lower() not in _READABLE:
        raise ExchangeFailure(
            f'content encoding "{encoding}" of an answer cannot be searched for secrets', "WF022"
        )
    if response.status_code == _PARTIAL and used.may_be_kept_at(host):
        raise ExchangeFailure(
            f'a part of what host "{host}" has cannot be searched for secrets',
            "WF022",
            "Ask for the whole: the role may send secrets to this host.",
        )


def _answer(response: httpx.Response, content: bytes, hidden: Redactor, limits: Limits) -> Answer:
    packed = response.headers.get("content-encoding", "")
    content = hidden.content(_unpacked(content, packed, limits))
    body, encoding = decode_body(content, response.headers.get("content-type"))
    is_the_same = body.isascii() and len(body) == len(content)
    if encoding == "text" and not is_the_same:  # a charset may have hidden it
        body = hidden.text(body)
    headers = {hidden.text(name): hidden.text(text) for name, text in response.headers.items()}
    return Answer(response.status_code, headers, body, encoding)


def _unpacked(content: bytes, encoding: str, limits: Limits) -> bytes:
    """The content without its compression, if that is the one that was asked for."""
    if encoding.strip().lower() == "gzip" and content:
        try:
            content = _inflated(content, limits.response_bytes + 1)
        except zlib.error as error:
            raise ExchangeFailure(f"HTTP request failed: {error}", "WF022") from None
    if len(content) > limits.response_bytes:
        raise too_large(limits)
    return content


def _inflated(content: bytes, most: int) -> bytes:
    """Up to so many bytes of all members, one after the other. Raises zlib.error."""
    out = b""
    for _ in range(_MOST_MEMBERS):
        inflating = zlib.decompressobj(_GZIP)
        out += inflating.decompress(content, most - len(out))
        content = inflating.unused_data
        if len(out) >= most or (inflating.eof and not content.startswith(_MAGIC)):
            return out
        if not inflating.eof:
            raise zlib.error("the gzip content breaks off")
    raise zlib.error(f"the gzip content has more than {_MOST_MEMBERS} members")


def too_large(limits: Limits) -> ExchangeFailure:
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
