"""Finding messages in chunks, however the stream was cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durproxy.errors import ProtocolViolation
from durproxy.wire.framing import MAX_LENGTH, MessageReader, encode_message, walk

NOTHING: frozenset[int] = frozenset()
messages = st.lists(st.tuples(st.integers(1, 255), st.binary(max_size=40)), min_size=1, max_size=12)


def encode_all(parts: list[tuple[int, bytes]]) -> bytes:
    return b"".join(encode_message(kind, body) for kind, body in parts)


def starts_seen(stream: bytes, sizes: list[int], wanted: frozenset[int]) -> list[int]:
    """Where in the stream the wanted headers were seen, walking chunk by chunk as a relay does."""
    found: list[int] = []
    carry, base, skip = b"", 0, 0
    while sizes:
        chunk = carry + stream[base + len(carry) : base + len(carry) + sizes.pop(0)]
        position, end = skip, len(chunk)
        while position < end:
            position, kind, after = walk(chunk, position, end, wanted)
            if kind == 0:
                break
            found.append(base + position)
            position = after
        carry = chunk[position:] if position < end else b""
        skip = max(position - end, 0)
        base += end - len(carry)
    return found


@given(messages, st.data())
def test_wanted_messages_are_found_wherever_the_stream_is_cut(
    parts: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    stream = encode_all(parts)
    kinds = sorted({kind for kind, _ in parts})
    wanted = frozenset(data.draw(st.sets(st.sampled_from(kinds))))
    cuts = data.draw(st.lists(st.integers(1, 30), min_size=1))
    sizes = [*cuts, len(stream)]
    expected = [
        len(encode_all(parts[:index])) for index, (kind, _) in enumerate(parts) if kind in wanted
    ]
    assert starts_seen(stream, [len(stream)], wanted) == expected
    assert starts_seen(stream, [1] * len(stream), wanted) == expected
    assert starts_seen(stream, sizes, wanted) == expected


def test_walk_stops_where_a_header_is_cut() -> None:
    stream = encode_message(ord("D"), b"row") + b"Z\0\0"
    assert walk(stream, 0, len(stream), frozenset(b"Z")) == (8, 0, 8)


def test_walk_goes_beyond_the_chunk_when_a_body_goes_on() -> None:
    stream = encode_message(ord("d"), b"x" * 100)[:20]
    assert walk(stream, 0, len(stream), NOTHING) == (105, 0, 105)


@pytest.mark.parametrize("length", [0, 1, 3, MAX_LENGTH + 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
@pytest.mark.parametrize("wanted", [NOTHING, frozenset(b"Q")])
def test_nonsense_length_is_a_violation(length: int, wanted: frozenset[int]) -> None:
    stream = b"Q" + length.to_bytes(4, "big") + b"select"
    with pytest.raises(ProtocolViolation):
        walk(stream, 0, len(stream), wanted)


def test_a_gigabyte_is_a_length_like_any_other() -> None:
    stream = b"Q" + MAX_LENGTH.to_bytes(4, "big")
    assert walk(stream, 0, 5, frozenset(b"Q")) == (0, ord("Q"), MAX_LENGTH + 1)


@given(messages, st.binary(max_size=4))
def test_reader_gives_whole_messages_and_keeps_the_rest(
    parts: list[tuple[int, bytes]], trailing: bytes
) -> None:
    stream = encode_all(parts)
    for step in (1, 7, len(stream)):
        reader = MessageReader(1000)
        read = []
        for start in range(0, len(stream), step):
            reader.feed(stream[start : start + step])
            while (message := reader.maybe_read()) is not None:
                read.append(message)
        assert read == [(kind, encode_message(kind, body)) for kind, body in parts]
        reader.feed(trailing)
        assert reader.take_rest() == trailing
        assert reader.maybe_read() is None


@pytest.mark.parametrize("length", [0, 3, 101, 0xFFFFFFFF])
def test_reader_refuses_a_length_before_the_body_has_come(length: int) -> None:
    reader = MessageReader(100)
    reader.feed(b"R" + length.to_bytes(4, "big"))
    with pytest.raises(ProtocolViolation, match="invalid length"):
        reader.maybe_read()
