"""Messages come back from their bytes, and broken ones raise nothing but ProtocolViolation."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durproxy.errors import ProtocolViolation
from durproxy.wire import backend
from durproxy.wire.backend import (
    Authentication,
    BackendKeyData,
    ErrorResponse,
    NoticeResponse,
    ParameterStatus,
    ReadyForQuery,
    encode_authentication,
    encode_report,
    fatal,
    report_fields,
)
from durproxy.wire.framing import HEADER_SIZE
from durproxy.wire.frontend import Bind, Close, Describe, Execute, Parse, Query

names = st.binary(max_size=20).filter(lambda data: b"\0" not in data)
int16s = st.lists(st.integers(0, 1), max_size=4).map(tuple)
frontend = st.one_of(
    st.builds(Query, names),
    st.builds(Parse, names, names, st.just(b"\0\1\0\0\0\x19")),
    st.builds(
        Bind,
        names,
        names,
        int16s,
        st.lists(st.none() | st.binary(max_size=30), max_size=4).map(tuple),
        int16s,
    ),
    st.builds(Describe, st.sampled_from(b"SP"), names),
    st.builds(Execute, names, st.integers(0, 1 << 31 - 1)),
    st.builds(Close, st.sampled_from(b"SP"), names),
)
fields = st.lists(st.tuples(st.sampled_from(b"SVCMDHPpqWstcdnFLR"), names), max_size=8).map(tuple)
PARSERS = [
    Query, Parse, Bind, Describe, Execute, Close,
    Authentication, ParameterStatus, BackendKeyData, ReadyForQuery, ErrorResponse, NoticeResponse,
]  # fmt: skip


@given(frontend)
def test_frontend_messages_come_back(
    message: Query | Parse | Bind | Describe | Execute | Close,
) -> None:
    data = message.encode()
    assert data[0] == message.kind
    assert int.from_bytes(data[1:5], "big") == len(data) - 1
    assert type(message).parse(data[HEADER_SIZE:]) == message


@given(fields)
def test_reports_come_back(given_: tuple[tuple[int, bytes], ...]) -> None:
    for kind in (ErrorResponse, NoticeResponse):
        assert kind.parse(kind(given_).encode()[HEADER_SIZE:]) == kind(given_)


def test_ready_for_query_comes_back() -> None:
    assert ReadyForQuery.parse(ReadyForQuery(ord("T")).encode()[HEADER_SIZE:]).status == ord("T")


def test_parameter_status_comes_back() -> None:
    message = ParameterStatus(b"client_encoding", b"UTF8")
    assert ParameterStatus.parse(message.encode()[HEADER_SIZE:]) == message


@pytest.mark.parametrize("parser", PARSERS)
@given(body=st.binary(max_size=60))
def test_any_body_parses_or_violates(parser: type[Query], body: bytes) -> None:
    with suppress(ProtocolViolation):
        parser.parse(body)


@given(st.binary(max_size=60))
def test_the_fields_of_any_body_are_read_or_unknown(body: bytes) -> None:
    fields = report_fields(body)
    assert fields is None or encode_report(ErrorResponse.kind, fields)[HEADER_SIZE:] == body


def test_bind_with_more_parameters_than_it_holds_violates() -> None:
    with pytest.raises(ProtocolViolation):
        Bind.parse(b"\0\0\0\0\x7f\xff")


def test_format_of_a_parameter() -> None:
    assert Bind(b"", b"", (), (b"a",), ()).format_of(0) == 0
    assert Bind(b"", b"", (1,), (b"a", b"b"), ()).format_of(1) == 1
    assert Bind(b"", b"", (0, 1), (b"a", b"b"), ()).format_of(1) == 1


def test_an_error_without_sqlstate_is_readable() -> None:
    report = ErrorResponse.parse(b"SFATAL\0Mno\0\0")
    assert report.get("C") is None


def test_fatal_has_the_fields_that_clients_read() -> None:
    report = ErrorResponse.parse(fatal("57P01", "bye", hint="Again.").encode()[HEADER_SIZE:])
    assert [report.get(field) for field in "SVCMH"] == [
        b"FATAL", b"FATAL", b"57P01", b"bye", b"Again.",
    ]  # fmt: skip
    assert report.get("D") is None


def test_who_has_to_answer_in_a_login() -> None:
    answers = {
        code: Authentication.parse(encode_authentication(code)[HEADER_SIZE:]).wants_answer
        for code in (0, 3, 5, 10, 11, 12)
    }
    assert answers == {0: False, 3: True, 5: True, 10: True, 11: True, 12: False}


@pytest.mark.parametrize("size", [4, 32, 256])
def test_backend_key_of_any_length(size: int) -> None:
    key = BackendKeyData.parse(b"\xff\0\0\1" + b"k" * size)
    assert (key.process_id, key.secret_key) == (0xFF000001, b"k" * size)
    assert backend.BackendKeyData.kind == ord("K")
