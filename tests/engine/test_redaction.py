"""Secrets are found in whatever way a server that echoes them writes them, and nothing else is."""

from __future__ import annotations

import base64
import html
import json
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durproxy.engine.redaction import Redactor, Trace

SECRETS = st.one_of(
    st.text(
        st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=8, max_size=40
    ),
    st.from_regex(r"[A-Za-z0-9+/=_.-]{8,40}", fullmatch=True),
)
WAYS: list[Callable[[str], str]] = [
    str,
    quote,
    lambda text: quote(text, safe=""),
    lambda text: quote_plus(text).lower() if text.isascii() and text.islower() else quote(text),
    quote_plus,
    lambda text: json.dumps(text)[1:-1],
    lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    html.escape,
    lambda text: "".join(f"&#{ord(character)};" for character in text),
    lambda text: "".join(f"%{octet:02X}" for octet in text.encode()),
    lambda text: text.encode().hex(),
    lambda text: re.sub(
        "[^A-Za-z0-9 ]", lambda one: "".join(f"={octet:02X}" for octet in one[0].encode()), text
    ),
    lambda text: quote(quote(quote(text, safe=""), safe=""), safe=""),
    lambda text: json.dumps(json.dumps(text))[3:-3],
    lambda text: html.escape(html.escape(text)),
    lambda text: repr(text.encode())[2:-1],
    lambda text: "".join(f"\\x{octet:02x}" for octet in text.encode()),
]


@given(SECRETS, st.sampled_from(WAYS), st.text(max_size=5))
def test_an_echo_is_found(secret: str, way: Callable[[str], str], around: str) -> None:
    hidden = Redactor([Trace("key", secret)])
    echo = way(secret)
    assert "{secret:key}" in hidden.text(f"{around}{echo}{around}")
    assert "{secret:key}" in hidden.content(f"{around}{echo}".encode()).decode("utf-8", "replace")
    assert hidden.found_in(echo.encode()) == ["key"]


LETTERS: list[Callable[[str], str]] = [
    str,
    str.upper,
    lambda letter: "".join(f"%{octet:02x}" for octet in letter.encode()),
    lambda letter: f"\\u{ord(letter):04X}",
    lambda letter: f"&#{ord(letter)};",
    lambda letter: f"&#x0{ord(letter):x};",
]


@given(
    st.lists(
        st.tuples(st.characters(max_codepoint=0x7E, min_codepoint=0x21), st.sampled_from(LETTERS)),
        min_size=8,
        max_size=30,
    )
)
def test_each_letter_may_be_written_in_its_own_way(letters: list[tuple[str, Any]]) -> None:
    hidden = Redactor([Trace("key", "".join(letter for letter, _ in letters))])
    echo = "".join(write(letter) for letter, write in letters)
    assert hidden.text(f"%4 {echo} &#4") == "%4 {secret:key} &#4"


@given(st.binary(min_size=0, max_size=4), st.binary(min_size=9, max_size=30), st.booleans())
def test_an_echo_in_base64_is_found_at_any_alignment(
    before: bytes, raw: bytes, url_safe: bool
) -> None:
    secret = raw.hex()
    encode = base64.urlsafe_b64encode if url_safe else base64.b64encode
    echo = encode(before + b"user:" + secret.encode() + b"!").decode()
    left = Redactor([Trace("key", secret)]).text(echo)
    assert "{secret:key}" in left
    assert len(left.replace("{secret:key}", "")) <= 16


@given(st.text(max_size=200))
def test_what_is_no_secret_stays(text: str) -> None:
    hidden = Redactor([Trace("key", "sk_live_8Ahs7Ghe5")])
    assert hidden.text(text) == text
    assert hidden.content(text.encode()) == text.encode()


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_bytes_of_wide_characters(codec: str) -> None:
    content = "a sk_live_8Ahs7Ghe5 b".encode(codec)
    assert b"{secret:key}" in Redactor([Trace("key", "sk_live_8Ahs7Ghe5")]).content(content)


@pytest.mark.parametrize("piece", ["\\", "%", "%25", "&", "&amp;", "&#0", "s", "s\\", "\\u007"])
def test_no_text_takes_long(piece: str) -> None:
    """What could be the beginning of a character many times over, and never is one."""
    hidden = Redactor([Trace("key", "s\\\\%25&/\"'s" * 3)])
    text = piece * (300_000 // len(piece)) + "25 ss"  # so that it is searched in earnest
    begun = time.process_time()
    assert hidden.text(text) == text
    assert time.process_time() - begun < 2


@settings(max_examples=15)
@given(SECRETS, st.sampled_from(WAYS), st.integers(0, 120))
def test_a_long_text_is_searched_in_pieces(
    secret: str, way: Callable[[str], str], before: int
) -> None:
    """Also where one ends and the next begins."""
    echo = way(secret)
    text = f"{'. ' * (32_768 - before // 2)}{echo}{' .' * 40_000}{echo}"
    assert Redactor([Trace("key", secret)]).text(text).count("{secret:key}") >= 2


def test_each_secret_by_its_name() -> None:
    hidden = Redactor([Trace("a", "aaaaaaaaaaaa"), Trace("b", "bbbbbbbbbbbb")])
    assert hidden.text("bbbbbbbbbbbb aaaaaaaaaaaa") == "{secret:b} {secret:a}"
