"""The texts of an HTTP step's configuration, and what may stand in them.

References, variables, and names of secrets: `{secret:name}`, in URL, headers and body.

A reference is written as in any plain text; `$$name` is the text `$name` itself, which request
bodies of other languages need (GraphQL's variables, MongoDB's operators). A URL's first question
mark begins its query, also behind a reference.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from durproxy.engine.core.lexer import REFERENCE_IN_TEXT
from durproxy.engine.core.places import Reference, from_match

_HOLE = re.compile(
    r"\$(?P<literal>\$[A-Za-z_][A-Za-z0-9_]*)"
    rf"|{REFERENCE_IN_TEXT.pattern}"
    r"|\{(?P<variable>[A-Za-z_][A-Za-z0-9_]*)\}"
    r"|\{secret:(?P<secret>[A-Za-z_][A-Za-z0-9_-]*)\}"
)
_PART_TEXTS = ("name", "data_b64", "filename", "content_type")


@dataclass(frozen=True, slots=True)
class Hole:
    """Characters [start, end) that something else stands for: exactly one of the other four."""

    start: int
    end: int
    reference: Reference | None = None
    variable: str | None = None
    literal: str | None = None
    secret: str | None = None


def holes(text: str, *, is_url: bool = False) -> Iterator[Hole]:
    """What in `text` is to be replaced, in order."""
    query = text.find("?") if is_url else -1
    for match in _HOLE.finditer(text):
        start, end = match.span()
        if match["literal"] is not None:
            yield Hole(start, end, literal=match["literal"])
        elif match["variable"] is not None:
            yield Hole(start, end, variable=match["variable"])
        elif match["secret"] is not None:
            yield Hole(start, end, secret=match["secret"])
        else:
            reference = from_match(match, in_literal=True)
            if reference.optional and end - 1 == query:
                reference, end = replace(reference, optional=False, end=query), query
            yield Hole(start, end, reference=reference)


def find_http_references(config: Mapping[str, Any]) -> tuple[Reference, ...]:
    """The references of all texts of a configuration, in order."""
    url = config.get("url")
    found = list(holes(url, is_url=True)) if isinstance(url, str) else []
    for text in _other_texts(config):
        found += holes(text)
    return tuple(hole.reference for hole in found if hole.reference is not None)


def find_secrets(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the secrets in URL, headers and body, in order; parts have none."""
    headers = config.get("headers")
    texts = [config.get("url"), config.get("body")]
    texts += headers.values() if isinstance(headers, dict) else ()
    found = (hole.secret for text in texts if isinstance(text, str) for hole in holes(text))
    return tuple(name for name in found if name is not None)


def all_texts(config: Mapping[str, Any]) -> list[str]:
    """Whatever of a configuration is filled in."""
    url = config.get("url")
    return [*([url] if isinstance(url, str) else []), *_other_texts(config)]


def _other_texts(config: Mapping[str, Any]) -> Iterator[str]:
    """The other texts that may hold references: body, values of headers, texts of parts."""
    found = [config.get("body")]
    headers, parts = config.get("headers"), config.get("parts")
    if isinstance(headers, dict):
        found += headers.values()
    if isinstance(parts, list):
        found += [part.get(key) for part in parts if isinstance(part, dict) for key in _PART_TEXTS]
    return (text for text in found if isinstance(text, str))
