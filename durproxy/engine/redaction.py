"""Secrets taken out of what comes back: answers that echo them, and errors that quote a URL.

A secret is found as it is and as the encodings write it that a request goes through on its way:
percent-encoding, JSON, HTML, C and mail escapes (each character by itself may be escaped or not,
and most also more than once), base64 at any alignment, hexadecimal digits, UTF-16 and UTF-32. What
a server computes from a secret otherwise (a digest, the text backwards) cannot be known.

Nearly all texts have no secret in them, and a quick look says so: when letters that are escaped are
written as they are, the text does not have the longest row of letters and digits of the secret, nor
that of any of its encodings. Only a text that has one is searched in earnest.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Iterator
from functools import cached_property

SHORTEST = 8  # characters; less would be found in texts that have nothing to do with it

_PIECE = 65_536  # characters that are gone through at once
_LONGEST_CHARACTER = 64  # characters that one is written with
_OUTSIDE_ESCAPES = re.compile(r"[^%\\&#;0-9A-Za-z]")
# what follows a backslash for the character
_ESCAPES = dict(zip("\"\\/'\b\f\n\r\t", "\"\\/'bfnrt", strict=True))
_ROW = re.compile("[a-z0-9]+")
# each as it is, or escaped itself by who escapes a text again; some times, since a text may have
# millions of them in a row
_PERCENT, _BACKSLASH, _AMPERSAND = "%(?:25){0,3}", r"\\{1,8}", "&(?:amp;){0,3}"
_HEX_OF_LETTER = "(?:3[0-9]|[46][1-9a-f]|[57][0-9a])"
_DECIMAL_OF_LETTER = "(?:4[89]|5[0-7]|6[5-9]|[78][0-9]|9[07-9]|1[01][0-9]|12[0-2])"
_ESCAPED_LETTER = re.compile(
    rf"(?:{_PERCENT}|{_BACKSLASH}(?:u00|x))({_HEX_OF_LETTER})"
    rf"|{_AMPERSAND}#(?:x0*({_HEX_OF_LETTER})|0*({_DECIMAL_OF_LETTER}));",
    re.IGNORECASE,
)


class Trace:
    """A secret's value, and what shows it. Its repr tells nothing."""

    def __init__(self, name: str, value: str) -> None:
        self.name = name
        self.value = value
        row = _longest_row(value)
        self._signs = {row, _longest_row(value.encode().hex())}
        self._signs.update(map(_longest_row, _base64_cores(value.encode())))
        self._wide_signs = {"\0".join(row), "\0\0\0".join(row)}

    def may_be_in(self, lowered: str, *, is_wide: bool) -> bool:
        """A quick look at a text in lower case whose letters are not escaped; True: search it."""
        return any(sign in lowered for sign in self._signs) or (
            is_wide and any(sign in lowered for sign in self._wide_signs)
        )

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(_pattern(self.value), re.DOTALL)

    def places_in(self, text: str) -> Iterator[tuple[int, int]]:
        """Where it stands. No other thread goes on while one piece is searched."""
        at, longest = 0, _LONGEST_CHARACTER * len(self.value)
        piece = max(_PIECE, longest)
        while at < len(text):
            found = self.pattern.search(text, at, at + piece + longest)
            if found is None or found.start() >= at + piece:
                at += piece
            else:
                yield found.span()
                at = found.end()


class Redactor:
    """Puts `{secret:name}` where a secret's value stands."""

    def __init__(self, traces: Iterable[Trace] = ()) -> None:
        self._traces = tuple(traces)

    def __bool__(self) -> bool:
        """Whether there is anything to look for."""
        return bool(self._traces)

    def text(self, text: str) -> str:
        for trace in self._worth_a_search(text):
            done, kept = 0, ""
            for start, end in trace.places_in(text):
                kept += f"{text[done:start]}{{secret:{trace.name}}}"
                done = end
            text = kept + text[done:]
        return text

    def content(self, content: bytes) -> bytes:
        """The same for bytes of any kind."""
        if not self._traces:
            return content
        return self.text(content.decode("latin-1")).encode("latin-1")

    def found_in(self, content: bytes) -> list[str]:
        """The names of the secrets that stand in it."""
        text = content.decode("latin-1")
        found = [t.name for t in self._worth_a_search(text) if any(t.places_in(text))]
        return list(dict.fromkeys(found))

    def _worth_a_search(self, text: str) -> Iterable[Trace]:
        if not self._traces:
            return ()
        lowered = "".join(_ESCAPED_LETTER.sub(_letter, piece).lower() for piece in _pieces(text))
        is_wide = "\0" in text
        return [trace for trace in self._traces if trace.may_be_in(lowered, is_wide=is_wide)]


def _pieces(text: str) -> Iterator[str]:
    """The text, cut where no escape is: no other thread goes on during the look at a piece."""
    done = 0
    while done < len(text):
        cut = _OUTSIDE_ESCAPES.search(text, done + _PIECE)
        end = len(text) if cut is None else cut.start()
        yield text[done:end]
        done = end


def _letter(escaped: re.Match[str]) -> str:
    code = escaped[1] or escaped[2]
    return chr(int(escaped[3]) if code is None else int(code, 16))


def _longest_row(text: str) -> str:
    """The longest row of letters and digits, in lower case."""
    return max(_ROW.findall(text.lower()), key=len, default="")


def _pattern(value: str) -> str:
    raw = value.encode()
    forms = [f"(?i:{''.join(map(_character, value))})"]  # names of hosts lose their case
    for encoded in _base64_cores(raw):
        forms += {re.escape(encoded), re.escape(encoded.translate(_TO_URL_SAFE))}
    forms.append(f"(?i:{raw.hex()})")
    for codec in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        forms.append(re.escape(value.encode(codec).decode("latin-1")))
    return "|".join(forms)


_TO_URL_SAFE = str.maketrans("+/", "-_")


def _base64_cores(raw: bytes) -> list[str]:
    """The base64 digits that depend on nothing around it, for each alignment."""
    cores = []
    for before in range(3):
        digits = base64.b64encode(bytes(before) + raw).decode("ascii")
        cores.append(digits[(before * 8 + 5) // 6 : (before + len(raw)) * 8 // 6])
    return cores


def _character(character: str) -> str:
    """One character of a secret, however it may be written."""
    octets = character.encode()
    forms = {re.escape(character), re.escape(octets.decode("latin-1"))}
    for encoded in (octets, character.encode("latin-1", "replace")):
        if encoded != b"?" or character == "?":
            forms.add("".join(f"{_PERCENT}{octet:02x}" for octet in encoded))
            forms.add("".join(f"{_BACKSLASH}x{octet:02x}" for octet in encoded))
            forms.add("".join(f"={octet:02x}" for octet in encoded))
    units = character.encode("utf-16-be")
    pairs = [units[at : at + 2].hex() for at in range(0, len(units), 2)]
    forms.add("".join(f"{_BACKSLASH}u{pair}" for pair in pairs))
    code = ord(character)
    forms.add(rf"{_AMPERSAND}#(?:0*{code}|x0*{code:x});")
    if (named := html.escape(character)) != character:
        forms.add(_AMPERSAND + re.escape(named.removeprefix("&")))
    if character == " ":
        forms.add(rf"\+|{_PERCENT}2b")
    if character == "\\":
        forms |= {r"\\\\", r"\\\\\\\\"}  # no more ways, which would multiply in a row of them
    elif character in _ESCAPES:
        forms.add(_BACKSLASH + re.escape(_ESCAPES[character]))
    return f"(?:{'|'.join(sorted(forms, key=lambda form: (-len(form), form)))})"  # all of it
