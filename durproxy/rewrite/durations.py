"""Intervals in an expression, as the texts that the server's constructors make of them.

Only the plain ones, a number and perhaps a unit, are read: what is known here serves to show a
workflow before it runs, the server reads all of them.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from pglast import ast

from durproxy.rewrite.constants import Constant, Unknown, constant
from durproxy.rewrite.parse import Tree, qualified_name

_PLAIN: Final = re.compile(
    r"\s*(\d{1,9}(?:\.\d{1,6})?)\s*(?:(second|minute|hour|day|week)s?)?\s*", re.ASCII
)
_SECONDS: Final = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}


def is_interval(node: Tree) -> bool:
    """Tell whether an expression is a cast to interval."""
    return isinstance(node, ast.TypeCast) and _type_name(node) == "interval"


def interval(node: Tree) -> Constant | Unknown:
    """Return the text of an interval's literal, whether it has a type or not."""
    return constant(node.arg if is_interval(node) else node)


def _type_name(cast: Tree) -> str:
    kind: Tree = cast.typeName
    plain = not kind.arrayBounds and not kind.typmods
    return qualified_name(kind.names)[-1] if plain else ""


def seconds(text: str) -> str | None:
    """Return how many seconds an interval has, always with a point."""
    found = _read(text)
    if found is None:
        return None
    number, unit = found
    shown = format((number * _SECONDS[unit]).normalize(), "f")
    return shown if "." in shown else f"{shown}.0"


def iso_duration(text: str) -> str | None:
    """Return an interval as ISO 8601 has it, in the parts that Postgres keeps."""
    found = _read(text)
    if found is None:
        return None
    number, unit = found
    if unit in ("day", "week"):
        days = int(number) * (7 if unit == "week" else 1)
        return f"P{days}D" if days else "PT0S"
    minutes, rest = divmod(number * _SECONDS[unit], 60)
    hours, minutes = divmod(minutes, 60)
    parts = (f"{hours:f}H" if hours else "", f"{minutes:f}M" if minutes else "")
    left = f"{rest.normalize():f}S" if rest else ""
    return "PT" + ("".join((*parts, left)) or "0S")


def _read(text: str) -> tuple[Decimal, str] | None:
    found = _PLAIN.fullmatch(text)
    if found is None:
        return None
    unit = found[2] or "second"
    return None if "." in found[1] and unit != "second" else (Decimal(found[1]), unit)
