"""Rules of HTTP steps: which of a role's rules is about a request. The first one that is decides.

A path is compared as a server would read it. What servers read differently (encoded slashes and
dots, backslashes, empty segments, parameters of segments) is refused where rules look at paths.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

from durproxy.config_tables import HttpRule
from durproxy.engine.hosts import any_matches

_AMBIGUOUS = re.compile(r"%(?:2e|2f|5c|25|00|3b)|[\\;]|//|/\.{1,2}(?:/|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is for; without its query, which may hold anything."""

    scheme: str
    host: str
    port: int
    method: str
    path: str  # as it is sent

    def __str__(self) -> str:
        return f'to call {self.method} on host "{self.host}", port {self.port}, by {self.scheme}'


def rules_of(role: str, rules: Sequence[HttpRule]) -> tuple[HttpRule, ...]:
    return tuple(rule for rule in rules if not rule.roles or role in rule.roles)


def check_path(target: Target, rules: Sequence[HttpRule]) -> str | None:
    """What is wrong with the path, where one of the rules looks at paths."""
    if any(rule.paths for rule in rules) and _AMBIGUOUS.search(target.path):
        return "servers may read the URL's path in more than one way, and rules look at paths"
    return None


def first_match(rules: Sequence[HttpRule], target: Target) -> HttpRule | None:
    return next((rule for rule in rules if _is_about(rule, target)), None)


def _is_about(rule: HttpRule, target: Target) -> bool:
    schemes = rule.schemes or (("https",) if rule.action == "allow" else ())
    return (
        (not schemes or target.scheme in schemes)
        and (not rule.hosts or any_matches(target.host, rule.hosts))
        and (not rule.ports or target.port in rule.ports)
        and (not rule.methods or target.method in rule.methods)
        and (not rule.paths or _is_path(rule, unquote(target.path)))
    )


def _is_path(rule: HttpRule, path: str) -> bool:
    """Servers that ignore case must not let anything past a rule that denies."""
    any_case = rule.action == "deny"
    return any(_pattern(pattern, any_case).fullmatch(path) for pattern in rule.paths)


@lru_cache(maxsize=1000)
def _pattern(text: str, any_case: bool) -> re.Pattern[str]:
    parts = ".*".join(re.escape(part) for part in text.split("*"))
    return re.compile(parts, re.DOTALL | (re.IGNORECASE if any_case else re.NOFLAG))
