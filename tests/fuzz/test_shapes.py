"""Packets of known shapes are relayed as they are when nothing is known: only in fewer steps."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durproxy.proxy.downward import Downward
from durproxy.proxy.upward import Upward
from durproxy.wire.backend import IDLE
from durproxy.wire.framing import encode_message
from durproxy.wire.frontend import NO_PARAMETER_TYPES, Bind, Execute, Parse, Query
from tests.fuzz.test_wire_streams import Ends, drain

_texts = st.sampled_from([b"SELECT 1", b"SELECT x", b"SELECT df.version()", b"df.", b"a.b", b""])
_others = st.builds(
    encode_message, st.sampled_from(b"BDECHSFXcdQP"), st.sampled_from([b"", b"\0", b"\0df.x()\0\0"])
)
_asked = st.one_of(
    _texts.map(Query).map(Query.encode),
    _texts.map(lambda text: Parse(b"", text, NO_PARAMETER_TYPES).encode()),
    st.just(Bind(b"", b"", (), (), ()).encode()),
    st.just(Execute(b"", 0).encode()),
    st.just(encode_message(ord("S"), b"")),
    _others,
)
_answered = st.one_of(
    st.just(encode_message(ord("Z"), b"I")),
    st.builds(
        encode_message, st.sampled_from(b"12CDETNSGZIn"), st.sampled_from([b"", b"I", b"x\0"])
    ),
)


def _packets(messages: st.SearchStrategy[bytes], last: bytes) -> st.SearchStrategy[bytes]:
    lists = st.lists(messages, max_size=5)
    whole = lists.map(lambda parts: b"".join(parts) + last)
    return st.one_of(
        whole, whole, lists.map(b"".join).filter(bool), st.binary(min_size=1, max_size=9)
    )


_ups = _packets(_asked, encode_message(ord("S"), b""))
_downs = _packets(_answered, encode_message(ord("Z"), b"I"))
_conversations = st.lists(st.tuples(st.booleans(), st.one_of(_ups, _downs)), max_size=12)


def _relayed(
    conversation: list[tuple[bool, bytes]], prepare: Callable[[Ends], None]
) -> list[object]:
    """All that can be seen of a link after each packet."""
    seen: list[object] = []
    with Ends() as ends:
        prepare(ends)
        link = ends.link
        link.status = IDLE
        scanned = link.pump.counters.statements_scanned
        for upward, packet in conversation:
            if link not in link.pump.links or link.up.suspended:
                break
            source, flow, sink = (
                (ends.client, link.up, ends.server)
                if upward
                else (ends.server, link.down, ends.client)
            )
            source.send(packet)
            flow.relay()
            counted = link.pump.counters.statements_scanned - scanned
            books = [unit if isinstance(unit, int) else unit.kind for unit in link.expected]
            seen.append((drain(sink), books, link.status, link.mid_group, link.simple, counted))
            seen.append((link.opened, link.skipping, link.attentive, link.rewriting))
    return seen


@settings(max_examples=120, deadline=None)
@given(_conversations, st.lists(st.one_of(_ups, _downs), max_size=5))
def test_what_is_known_changes_nothing(
    conversation: list[tuple[bool, bytes]], taught: list[bytes]
) -> None:
    def teach(ends: Ends) -> None:
        for packet in [*taught, *(packet for _, packet in conversation)]:
            ends.link.pump.groups.learn(memoryview(packet))
            ends.link.pump.answers.learn(memoryview(packet))

    known = _relayed(conversation, teach)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Upward, "_unit", lambda flow, end: 0)
        patch.setattr(Downward, "_is_whole_answer", lambda flow, buffer, end: False)
        assert known == _relayed(conversation, lambda ends: None)
