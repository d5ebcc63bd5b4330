"""Names of hosts against patterns: a name, `*.name` for all names below it, or `*`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

Value = TypeVar("Value")


def plain_host(host: str) -> str:
    """The host as patterns are written: lower case, no final dot, no brackets."""
    return host.lower().rstrip(".").removeprefix("[").removesuffix("]")


def host_matches(host: str, pattern: str) -> bool:
    host, pattern = plain_host(host), plain_host(pattern)
    if pattern.startswith("*."):
        return host.endswith(pattern[1:])
    return pattern in ("*", host)


def any_matches(host: str, patterns: Iterable[str]) -> bool:
    return any(host_matches(host, pattern) for pattern in patterns)


def closest(host: str, by_pattern: Mapping[str, Value]) -> Value | None:
    """What stands under the most exact pattern that the host matches."""
    found = [pattern for pattern in by_pattern if host_matches(host, pattern)]
    # the name itself before any wildcard, then the longest
    found.sort(key=lambda pattern: ("*" not in pattern, len(pattern)))
    return by_pattern[found[-1]] if found else None
