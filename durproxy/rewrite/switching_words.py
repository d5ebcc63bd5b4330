"""Whether a text that is not parsed has words by which it could become another role.

Bodies of functions and texts beyond our parser. It rather refuses too much: which words are code
and which stand in a literal or a comment depends on settings that may change before the text is
run, so all of them count. Only between two words of one command it matters what stands there, and
that reads the same in any case: blanks and comments. Where a literal may be code itself, of a DO or
a function in a body, its words must stand there as they are: no escapes, and not in pieces.
"""

from __future__ import annotations

import re
from typing import Final

SETTINGS: Final = ("role", "session_authorization")

#: Functions of the server, and of what comes with it, that run a text that they are given.
TEXT_RUNNERS: Final = frozenset(
    (
        "query_to_xml",
        "query_to_xmlschema",
        "query_to_xml_and_xmlschema",
        "ts_stat",
        "ts_rewrite",
        "crosstab",
        "crosstab2",
        "crosstab3",
        "crosstab4",
        "connectby",
        "xpath_table",
    )
)

_DANGEROUS: Final = re.compile(
    # a quoted name with escapes can be any of these
    rf'\b(?:execute|set_config|pg_settings|{"|".join(sorted(TEXT_RUNNERS))})\b|\bu&"',
    re.IGNORECASE,
)
_COMMAND: Final = re.compile(r"\b(?:set|reset|discard|language)\b", re.IGNORECASE)
# the commands that take code as a literal …
_WITH_CODE: Final = re.compile(r"\b(?:do|function|procedure)\b", re.IGNORECASE)
# … in which a word may be hidden by an escape, or go on in a literal on another line
_HIDDEN: Final = re.compile(
    r"\\|\bu&'|'(?:[ \t\f\v]*(?:--[^\n\r]*)?[\n\r])+[ \t\f\v]*'", re.IGNORECASE
)
_SPACE: Final = re.compile(r"\s+|--[^\n\r]*")
_COMMENT_MARK: Final = re.compile(r"/\*|\*/")
_WORD: Final = re.compile(r"[\"']?(\w+)[\"']?")
_LONGEST_COMMAND: Final = 4  # words: SET SESSION SESSION AUTHORIZATION
_SWITCH: Final = re.compile(
    r"(?:set|reset)(?: local| session)?(?: role| session authorization| session_authorization)\b"
    r"|discard all\b"
    r"|language (?!(?:sql|plpgsql)\b)"
)


def switch_in_words(text: str) -> str | None:
    """The words that would change the role, or could; None: there are none."""
    if (found := _DANGEROUS.search(text)) is not None:
        return found[0].upper()
    if _WITH_CODE.search(text) is not None and _HIDDEN.search(text) is not None:
        return "a body within it that has escapes, or a literal in pieces"
    for begin in _COMMAND.finditer(text):
        words = _command_at(text, begin.start()).lower()
        if (switch := _SWITCH.match(words)) is not None:
            return (switch[0] if not switch[0].endswith(" ") else words).upper()
    return None


def _command_at(text: str, position: int) -> str:
    """The words that begin here, with nothing but blanks and comments between them."""
    words: list[str] = []
    while len(words) < _LONGEST_COMMAND:
        word = _WORD.match(text, _after_space(text, position))
        if word is None:
            break
        words.append(word[1])
        position = word.end()
    return " ".join(words)


def _after_space(text: str, position: int) -> int:
    """Where the blanks and comments that begin here end; comments nest."""
    while True:
        if (space := _SPACE.match(text, position)) is not None:
            position = space.end()
        elif text.startswith("/*", position):
            position = _after_comment(text, position)
        else:
            return position


def _after_comment(text: str, position: int) -> int:
    depth = 0
    for mark in _COMMENT_MARK.finditer(text, position):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return mark.end()
    return len(text)
