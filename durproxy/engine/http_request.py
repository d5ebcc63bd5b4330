"""An HTTP step's configuration with its references and variables filled in.

Whatever a value holds, it stays what it is where it stands:

    URL              percent-encoded, but for a reference that the URL begins with
    header           as it is; a line break is refused
    JSON body        escaped inside a JSON string, elsewhere a whole JSON value by its type
    form body        percent-encoded
    other body       as it is, also a body that is one reference and nothing else
    data_b64         only as its whole value: base64 text, or bytea

Variables are the role's own text: spliced as they are, but escaped inside a JSON string.
Secrets are written like values of type text. What a value or a variable holds is not looked into:
`{secret:name}` in data is text.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, quote_plus

from durproxy.engine.core.actions import Environment
from durproxy.engine.core.bindings import ReferenceFailure, resolve
from durproxy.engine.core.http_config import Hole, holes
from durproxy.engine.core.references import Reference, Value

# what frames the message or chooses the host is ours to say
_OURS = frozenset(
    (
        "connection", "content-length", "expect", "host", "keep-alive", "te", "trailer",
        "transfer-encoding", "upgrade",
    )
)  # fmt: skip
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_NUMBERS = frozenset(
    f"pg_catalog.{name}" for name in ("int2", "int4", "int8", "float4", "float8", "numeric", "oid")
)
_JSON = frozenset(("pg_catalog.json", "pg_catalog.jsonb"))
_BOOL = "pg_catalog.bool"
_BYTEA = "pg_catalog.bytea"
_TEXT = "pg_catalog.text"

Write = Callable[[Hole, Value], str]


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart body."""

    name: str
    data: bytes
    filename: str | None
    content_type: str | None


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What is to be sent; a multipart body where there are `parts`. Its repr tells no secret."""

    method: str
    url: str = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)
    parts: tuple[Part, ...] = field(repr=False)
    timeout: float


def fill_request(
    config: Mapping[str, Any],
    variables: Mapping[str, str],
    environment: Environment,
    secrets: Mapping[str, str],
) -> HttpRequest:
    """Raises ReferenceFailure for a value that is missing, or that cannot stand where it should."""
    fill = _Filler(variables, environment, secrets)
    headers = _headers(config.get("headers") or {}, fill)
    body = config.get("body")
    if body is not None:
        body = _body(str(body), headers, fill)
    plain = _Filler(variables, environment, {})
    parts = tuple(
        _part(number, part, plain) for number, part in enumerate(config.get("parts") or (), 1)
    )
    return HttpRequest(
        method=str(config["method"]),
        url=fill(str(config["url"]), _in_url, is_url=True),
        headers=headers,
        body=None if body is None else body.encode(),
        parts=parts,
        timeout=float(config["timeout_seconds"]),
    )


class _Filler:
    """Fills the holes of texts; what stands in for a reference is up to `write`."""

    def __init__(
        self,
        variables: Mapping[str, str],
        environment: Environment,
        secrets: Mapping[str, str],
    ) -> None:
        self._variables = variables
        self._environment = environment
        self.secrets = secrets

    def __call__(self, text: str, write: Write, *, is_url: bool = False) -> str:
        done = 0
        parts: list[str] = []
        for hole in holes(text, is_url=is_url):
            parts += text[done : hole.start], self.stand_in(text, hole, write)
            done = hole.end
        return "".join(parts) + text[done:]

    def stand_in(self, text: str, hole: Hole, write: Write) -> str:
        """What comes in the place of one hole."""
        if hole.literal is not None:
            return hole.literal
        if hole.variable is not None:
            return self._variables.get(hole.variable, text[hole.start : hole.end])
        if hole.secret is not None:
            secret = self.secrets.get(hole.secret)
            if secret is None:  # a place that has none
                return text[hole.start : hole.end]
            return write(hole, Value(secret, _TEXT))
        assert hole.reference is not None
        return write(hole, self.value(hole.reference))

    def value(self, reference: Reference) -> Value:
        value = resolve(reference, self._environment)
        if isinstance(value, Value):
            return value
        raise ReferenceFailure(f'"{reference}" stands for rows and cannot be used as text', "42601")


def _text(value: Value) -> str:
    if value.type == _BOOL and value.text is not None:
        return "true" if value.text.startswith("t") else "false"
    return value.text or ""


def _as_it_is(hole: Hole, value: Value) -> str:
    return _text(value)


def _in_url(hole: Hole, value: Value) -> str:
    return _text(value) if hole.start == 0 else quote(_text(value), safe="")


def _in_form(hole: Hole, value: Value) -> str:
    return quote_plus(_text(value))


def _headers(templates: Mapping[str, Any], fill: _Filler) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, template in templates.items():
        if not _TOKEN.fullmatch(name) or name.lower() in _OURS:
            raise ReferenceFailure(f'header "{name}" cannot be set', "22023")
        text = fill(template if isinstance(template, str) else json.dumps(template), _as_it_is)
        headers[name] = _one_line(text, f'header "{name}"')
    return headers


def _one_line(text: str, what: str) -> str:
    if _CONTROL.search(text):
        raise ReferenceFailure(f"the value of {what} has a line break or a control character")
    return text


# --- bodies ---


def _body(template: str, headers: dict[str, str], fill: _Filler) -> str:
    """The body; names its kind in `headers` if the step does not."""
    given = next((v for k, v in headers.items() if k.lower() == "content-type"), None)
    whole = next((hole.reference for hole in holes(template) if hole.end == len(template)), None)
    if whole is not None and str(whole) == template:
        body = _text(fill.value(whole))
    elif _is_json(template, given):
        body = _JsonBody(fill).filled(template)
    elif given is not None and "x-www-form-urlencoded" in given.lower():
        body = fill(template, _in_form)
    else:
        body = fill(template, _as_it_is)
    if given is None:
        kind = "application/json" if _parses(body) else "text/plain; charset=utf-8"
        headers["Content-Type"] = kind
    return body


def _is_json(template: str, content_type: str | None) -> bool:
    if content_type is not None:
        return "json" in content_type.lower()
    start = len(template) - len(template.lstrip())
    is_hole = any(hole.start == start and hole.literal is None for hole in holes(template))
    return template[start : start + 1] in ("{", "[") and not is_hole


def _parses(body: str) -> bool:
    try:
        return isinstance(json.loads(body), dict | list)
    except (ValueError, RecursionError):
        return False


class _JsonBody:
    """Fills JSON: knows of each hole whether it is inside a string."""

    def __init__(self, fill: _Filler) -> None:
        self._fill = fill
        self._in_string = False
        self._is_escaped = False

    def filled(self, template: str) -> str:
        done, parts = 0, []
        for hole in holes(template):
            parts.append(self._read(template[done : hole.start]))
            parts.append(self._stand_in(template, hole))
            done = hole.end
        return "".join(parts) + template[done:]

    def _stand_in(self, template: str, hole: Hole) -> str:
        text = self._fill.stand_in(template, hole, self._write)
        if hole.reference is not None or hole.secret in self._fill.secrets:
            return text
        if hole.variable is not None and self._in_string:
            return _escaped(text)
        return self._read(text)

    def _write(self, hole: Hole, value: Value) -> str:
        return _escaped(_text(value)) if self._in_string else _json_value(value)

    def _read(self, text: str) -> str:
        """Follow the text of the body itself."""
        for character in text:
            if self._is_escaped:
                self._is_escaped = False
            elif character == "\\":
                self._is_escaped = self._in_string
            elif character == '"':
                self._in_string = not self._in_string
        return text


def _escaped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _json_value(value: Value) -> str:
    """A whole JSON value: a number, a boolean, JSON as it is, and a string for all else."""
    if value.text is None:
        return "null"
    kind = value.type.replace('"', "")  # the server quotes names that are keywords to it
    is_number = kind in _NUMBERS and _JSON_NUMBER.fullmatch(value.text)
    if is_number or kind in _JSON:
        return value.text
    return _text(value) if value.type == _BOOL else json.dumps(_text(value), ensure_ascii=False)


# --- parts ---


def _part(number: int, part: Mapping[str, Any], fill: _Filler) -> Part:
    def line(key: str) -> str | None:
        text = part.get(key)
        return None if text is None else _one_line(fill(str(text), _as_it_is), f"{key} of a part")

    return Part(
        name=line("name") or "",
        data=_data(number, str(part.get("data_b64", "")), fill),
        filename=line("filename"),
        content_type=line("content_type"),
    )


def _data(number: int, template: str, fill: _Filler) -> bytes:
    found = list(holes(template))
    if len(found) == 1 and (reference := found[0].reference) is not None:
        value = fill.value(reference)
        if value.type == _BYTEA and (value.text or "").startswith("\\x"):
            return bytes.fromhex((value.text or "")[2:])
    text = fill(template, _as_it_is)
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ReferenceFailure(
            f"data_b64 of part {number} is not base64",
            "22023",
            hint="Encode bytes with encode(value, 'base64'), or refer to a bytea column.",
        ) from None
