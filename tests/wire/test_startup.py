"""What a client says first, whole and in pieces, right and wrong."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durproxy.errors import ProtocolViolation
from durproxy.wire.startup import (
    MAX_CANCEL_KEY,
    PROTOCOL_3_0,
    PROTOCOL_3_2,
    CancelRequest,
    FirstMessage,
    GSSENCRequest,
    SSLRequest,
    StartupMessage,
    UnsupportedVersion,
    encode_cancel,
    encode_gssenc_request,
    encode_ssl_request,
    encode_startup,
    maybe_parse_first,
)

LIMIT = 10_000
words = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=20)
parameters = st.dictionaries(words, words, max_size=5)


def parse(data: bytes) -> FirstMessage:
    received = maybe_parse_first(data, LIMIT)
    assert received is not None
    assert received.raw + received.rest == data
    return received.message


def parses_in_pieces(data: bytes, expected: FirstMessage) -> None:
    for size in range(len(data)):
        assert maybe_parse_first(data[:size], LIMIT) is None
    assert parse(data) == expected
    assert parse(data + b"behind") == expected


@given(parameters, st.sampled_from([PROTOCOL_3_0, PROTOCOL_3_2, 3 << 16 | 9999]))
def test_startup_message_comes_back(given_: dict[str, str], version: int) -> None:
    message = StartupMessage(version, given_)
    parses_in_pieces(encode_startup(message), message)


@pytest.mark.parametrize("size", [1, 4, 32, MAX_CANCEL_KEY])
def test_cancel_request_with_a_key_of_any_length_comes_back(size: int) -> None:
    message = CancelRequest(0xFFFFFFFE, bytes(range(size % 256)) or b"k" * size)
    parses_in_pieces(encode_cancel(message), message)


def test_requests_for_encryption() -> None:
    parses_in_pieces(encode_ssl_request(), SSLRequest())
    parses_in_pieces(encode_gssenc_request(), GSSENCRequest())


@pytest.mark.parametrize("length", [0, 7, LIMIT + 1, 1 << 30, 0xFFFFFFFF])
def test_nonsense_length_is_refused_at_once(length: int) -> None:
    with pytest.raises(ProtocolViolation, match="length"):
        maybe_parse_first(struct.pack(">I", length), LIMIT)


@pytest.mark.parametrize(
    "body",
    [b"", b"user", b"user\0", b"user\0bob\0", b"user\0\0", b"user\0bob\0database\0\0", b"\0x\0\0"],
)
def test_parameters_that_do_not_pair_up_are_refused(body: bytes) -> None:
    data = struct.pack(">II", 8 + len(body), PROTOCOL_3_0) + body
    with pytest.raises(ProtocolViolation, match="startup packet"):
        maybe_parse_first(data, LIMIT)


@pytest.mark.parametrize("size", [0, MAX_CANCEL_KEY + 1])
def test_cancel_key_of_no_or_too_many_bytes_is_refused(size: int) -> None:
    with pytest.raises(ProtocolViolation, match="cancel key"):
        maybe_parse_first(encode_cancel(CancelRequest(1, b"x" * size)), LIMIT)


@pytest.mark.parametrize("major", [0, 2, 4])
def test_another_major_version_is_refused(major: int) -> None:
    data = struct.pack(">II", 12, major << 16 | 1) + b"what"
    with pytest.raises(UnsupportedVersion, match=f"protocol {major}.1: server supports 3.0 to 3.2"):
        parse(data)


@pytest.mark.parametrize(
    ("word", "wanted"),
    [("database", True), ("true", True), ("1", True), ("on", True), ("false", False), ("", False)],
)
def test_replication_is_asked_for_by_anything_that_is_not_false(word: str, wanted: bool) -> None:
    message = StartupMessage(PROTOCOL_3_0, {"user": "u", "replication": word})
    assert message.wants_replication is wanted


def test_database_is_named_like_the_user_by_default() -> None:
    assert StartupMessage(PROTOCOL_3_0, {"user": "u"}).database == "u"
    assert StartupMessage(PROTOCOL_3_0, {"user": "u", "database": "d"}).database == "d"


@given(st.binary(max_size=300))
def test_any_bytes_parse_or_violate(data: bytes) -> None:
    with suppress(ProtocolViolation):
        maybe_parse_first(data, LIMIT)
