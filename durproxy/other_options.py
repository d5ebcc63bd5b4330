"""The options of ``serve`` that its help does not list: one for each setting, by its name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from durproxy.config import Settings, option_name
from durproxy.errors import ConfigurationError

_NAMES = {option_name(field): field for field in Settings.model_fields}


def parse_others(arguments: Sequence[str]) -> dict[str, object]:
    """Settings as ``--name value`` or ``--name=value``, as text."""
    found: dict[str, object] = {}
    rest = iter(arguments)
    for argument in rest:
        option, equals, text = argument.partition("=")
        field = _NAMES.get(option)
        if field is None:
            raise ConfigurationError(f'unknown option "{option}"')
        found[field] = text if equals else _next(rest, option)
    return found


def _next(rest: Iterator[str], option: str) -> str:
    value = next(rest, None)
    if value is None:
        raise ConfigurationError(f"option {option} needs a value")
    return value
