"""Where the nodes of an expression stand in the text that it was read from.

The parser keeps no positions of constants: they are found again in the order of reading.
"""

from __future__ import annotations

from durproxy.engine.core.lexer import Token
from durproxy.engine.core.numbering import numbered
from durproxy.rewrite.literals import string_tokens, value
from durproxy.rewrite.reading import FirstLiteral, Reading


def literals_of(text: str, start: int, reading: Reading) -> dict[int, tuple[Token, FirstLiteral]]:
    """Return the literal of each step that was read from one, by id(), as far as they are found."""
    found: dict[int, tuple[Token, FirstLiteral]] = {}
    literals = string_tokens(text, start)
    for number, constant in reading.constants:
        token = next((t for t in literals if value(text, t) == constant.first), None)
        if token is None:
            break
        found[number] = token, constant
    return found


def positions(text: str, start: int, reading: Reading) -> dict[int, int]:
    """Return where each node stands, by its number, as far as that is known."""
    if reading.graph is None:
        return {}
    literals = literals_of(text, start, reading)
    places: dict[int, int] = {}
    for number, node in numbered(reading.graph):
        if id(node) in literals:
            places[number] = literals[id(node)][0].start
        elif id(node) in reading.locations:
            places[number] = reading.locations[id(node)]
    return places
