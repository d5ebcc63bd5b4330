"""Secrets taken out of what comes back: answers that echo them, and errors that quote a URL.

A secret is found as it is and as the encodings write it that a request goes through on its way:
percent-encoding, JSON and HTML escapes (each character by itself may be escaped or not), base64 at
any alignment, hexadecimal digits, UTF-16 and UTF-32. What a server computes from a secret otherwise
(a digest, the text backwards) cannot be known.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping

SHORTEST = 8  # characters; less would be found in texts that have nothing to do with it

# what follows a backslash for the character
_ESCAPES = dict(zip("\"\\/'\b\f\n\r\t", "\"\\/'bfnrt", strict=True))


class Redactor:
    """Puts `{secret:name}` where a secret's value stands."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._patterns = {
            name: re.compile(_pattern(value), re.DOTALL) for name, value in secrets.items()
        }

    def text(self, text: str) -> str:
        for name, pattern in self._patterns.items():
            text = pattern.sub(f"{{secret:{name}}}", text)
        return text

    def content(self, content: bytes) -> bytes:
        """The same for bytes of any kind."""
        if not self._patterns:
            return content
        return self.text(content.decode("latin-1")).encode("latin-1")

    def found_in(self, content: bytes) -> list[str]:
        """The names of the secrets that stand in it."""
        text = content.decode("latin-1")
        return [name for name, pattern in self._patterns.items() if pattern.search(text)]


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
    forms.add("".join(f"%{octet:02x}" for octet in octets))
    units = character.encode("utf-16-be")
    forms.add("".join(rf"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2)))
    code = ord(character)
    forms.add(rf"&#(?:0*{code}|x0*{code:x});")
    if (named := html.escape(character)) != character:
        forms.add(re.escape(named))
    if character == " ":
        forms.add(r"\+")
    if character in _ESCAPES:
        forms.add(re.escape("\\" + _ESCAPES[character]))
    return f"(?:{'|'.join(sorted(forms))})"
