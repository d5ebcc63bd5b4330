"""JSON read without losing anything: numbers of any size and scale, and parts as their own text."""

from __future__ import annotations

import json
import re

_SPACES = " \t\n\r"
_NOT_ZERO = re.compile(r"-?[0.]*[1-9]")


def is_nonzero(number: str) -> bool:
    """Whether a number's text is of any other number than zero."""
    return _NOT_ZERO.match(number) is not None


# numbers stay text: some are beyond float, and int() refuses those of thousands of digits
_READER = json.JSONDecoder(parse_int=str, parse_float=str)


def members(text: str) -> dict[str, str] | None:
    """Return the members of an object, each as its JSON text; None when it is no object.

    Of members with the same name the last counts, as in jsonb.
    """
    at = _skip(text, 0)
    if text[at] != "{":
        return None
    found: dict[str, str] = {}
    at = _skip(text, at + 1)
    while text[at] != "}":
        name, at = _READER.raw_decode(text, at)
        start = _skip(text, _skip(text, at) + 1)
        _, end = _READER.raw_decode(text, start)
        found[name] = text[start:end]
        at = _next(text, end)
    return found


def elements(text: str) -> list[str] | None:
    """Return the elements of an array, each as its JSON text; None when it is no array."""
    at = _skip(text, 0)
    if text[at] != "[":
        return None
    found: list[str] = []
    at = _skip(text, at + 1)
    while text[at] != "]":
        _, end = _READER.raw_decode(text, at)
        found.append(text[at:end])
        at = _next(text, end)
    return found


def _next(text: str, at: int) -> int:
    """Where the next part begins, or the closing bracket stands."""
    at = _skip(text, at)
    return _skip(text, at + 1) if text[at] == "," else at


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACES:
        at += 1
    return at
