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
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, quote_plus

from durproxy.engine.core.actions import Environment
from durproxy.engine.core.bindings import ReferenceFailure
from durproxy.engine.core.http_config import Hole, all_texts, holes
from durproxy.engine.core.references import Value
from durproxy.engine.http_filling import Filler, always, place_in_url, text_of
from durproxy.engine.long_texts import LONG

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
    # names of secrets, and where they stand: header:NAME, body, path, query or url
    secrets: frozenset[tuple[str, str]] = frozenset()


def size_of(
    config: Mapping[str, Any],
    variables: Mapping[str, str],
    environment: Environment,
    secrets: Mapping[str, str],
) -> int:
    """About how many characters are gone through to fill it: a hole has a value looked for anew."""
    texts = all_texts(config)
    size = sum(map(len, texts))
    if size >= LONG:
        return size
    results = sum(
        len(result.text or "") + sum(map(len, result.exact or ()))
        for result in environment.values()
    )
    for hole in (hole for text in texts for hole in holes(text)):
        if hole.reference is not None:
            size += results
        size += len(variables.get(hole.variable or "", "")) + len(
            secrets.get(hole.secret or "", "")
        )
    return size


def fill_request(
    config: Mapping[str, Any],
    variables: Mapping[str, str],
    environment: Environment,
    secrets: Mapping[str, str],
) -> HttpRequest:
    """Raises ReferenceFailure for a value that is missing, or that cannot stand where it should."""
    fill = Filler(variables, environment, secrets)
    headers = _headers(config.get("headers") or {}, fill)
    url = fill(str(config["url"]), _in_url, place_in_url, is_url=True)
    body = config.get("body")
    if body is not None:
        body = _body(str(body), headers, fill)
    plain = Filler(variables, environment, {})
    parts = tuple(
        _part(number, part, plain) for number, part in enumerate(config.get("parts") or (), 1)
    )
    return HttpRequest(
        method=str(config["method"]),
        url=url,
        headers=headers,
        body=None if body is None else body.encode(),
        parts=parts,
        timeout=float(config["timeout_seconds"]),
        secrets=frozenset(fill.used),
    )


def _as_it_is(hole: Hole, value: Value) -> str:
    return text_of(value)


def _in_url(hole: Hole, value: Value) -> str:
    return text_of(value) if hole.start == 0 else quote(text_of(value), safe="")


def _in_form(hole: Hole, value: Value) -> str:
    return quote_plus(text_of(value))


def _headers(templates: Mapping[str, Any], fill: Filler) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, template in templates.items():
        if not _TOKEN.fullmatch(name) or name.lower() in _OURS:
            raise ReferenceFailure(f'header "{name}" cannot be set', "22023")
        text = template if isinstance(template, str) else json.dumps(template)
        text = fill(text, _as_it_is, always(f"header:{name.lower()}"))
        headers[name] = _one_line(text, f'header "{name}"')
    return headers


def _one_line(text: str, what: str) -> str:
    if _CONTROL.search(text):
        raise ReferenceFailure(f"the value of {what} has a line break or a control character")
    return text


# --- bodies ---


def _body(template: str, headers: dict[str, str], fill: Filler) -> str:
    """The body; names its kind in `headers` if the step does not."""
    given = next((v for k, v in headers.items() if k.lower() == "content-type"), None)
    whole = next((hole.reference for hole in holes(template) if hole.end == len(template)), None)
    if whole is not None and str(whole) == template:
        body = text_of(fill.value(whole))
    elif _is_json(template, given):
        body = _JsonBody(fill).filled(template)
    elif given is not None and "x-www-form-urlencoded" in given.lower():
        body = fill(template, _in_form, always("body"))
    else:
        body = fill(template, _as_it_is, always("body"))
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

    def __init__(self, fill: Filler) -> None:
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
        text = self._fill.stand_in(template, hole, self._write, "body")
        if hole.reference is not None or hole.secret in self._fill.secrets:
            return text
        if hole.variable is not None and self._in_string:
            return _escaped(text)
        return self._read(text)

    def _write(self, hole: Hole, value: Value) -> str:
        return _escaped(text_of(value)) if self._in_string else _json_value(value)

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
    return text_of(value) if value.type == _BOOL else json.dumps(text_of(value), ensure_ascii=False)


# --- parts ---


def _part(number: int, part: Mapping[str, Any], fill: Filler) -> Part:
    def line(key: str) -> str | None:
        text = part.get(key)
        if text is None:
            return None
        return _one_line(fill(str(text), _as_it_is, always("body")), f"{key} of a part")

    return Part(
        name=line("name") or "",
        data=_data(number, str(part.get("data_b64", "")), fill),
        filename=line("filename"),
        content_type=line("content_type"),
    )


def _data(number: int, template: str, fill: Filler) -> bytes:
    found = list(holes(template))
    if len(found) == 1 and (reference := found[0].reference) is not None:
        value = fill.value(reference)
        if value.type == _BYTEA and (value.text or "").startswith("\\x"):
            return bytes.fromhex((value.text or "")[2:])
    text = fill(template, _as_it_is, always("body"))
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ReferenceFailure(
            f"data_b64 of part {number} is not base64",
            "22023",
            hint="Encode bytes with encode(value, 'base64'), or refer to a bytea column.",
        ) from None
