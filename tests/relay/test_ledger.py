"""The books of a session, without sockets: what is outstanding after each message."""

from __future__ import annotations

import pytest

from durproxy.proxy.ledger import Ledger
from durproxy.proxy.tracking import Tracking, Unit
from durproxy.rewrite.plan import Plan
from durproxy.wire.backend import BIND_COMPLETE, CLOSE_COMPLETE, COMMAND_COMPLETE, PARSE_COMPLETE
from durproxy.wire.framing import encode_message
from durproxy.wire.frontend import (
    COPY_DONE,
    FUNCTION_CALL,
    NO_PARAMETER_TYPES,
    SYNC,
    Bind,
    Close,
    Execute,
    Parse,
    Query,
)

PLAN = Plan(b"SELECT 1")
OTHER = Plan(b"SELECT 2")
GROUP = (
    Parse(b"", b"SELECT 1", NO_PARAMETER_TYPES).encode()
    + Bind(b"", b"", (), (), ()).encode()
    + Execute(b"", 0).encode()
)
REPLIES = (PARSE_COMPLETE, BIND_COMPLETE, COMMAND_COMPLETE)


def kinds(ledger: Ledger) -> list[int]:
    return [unit.kind if isinstance(unit, Unit) else unit for unit in ledger.expected]


def answered(ledger: Ledger) -> None:
    ledger.expected.popleft()


def test_a_query_behind_a_failed_message_of_its_group_is_not_answered() -> None:
    ledger = Ledger()
    ledger.call_sent(Query.kind, None, memoryview(GROUP))
    ledger.unit_sent(SYNC, memoryview(b""))
    ledger.error_received()  # of the Parse: the server skips up to the Sync
    assert len(ledger.expected) == 1
    answered(ledger)
    assert not ledger.expected


def test_a_query_that_fails_itself_in_a_group_is_answered() -> None:
    ledger = Ledger()
    ledger.call_sent(Query.kind, None, memoryview(GROUP))
    ledger.unit_sent(SYNC, memoryview(b""))
    for kind in (PARSE_COMPLETE, BIND_COMPLETE, COMMAND_COMPLETE):
        unit = ledger.unit_in_doubt()
        assert unit is not None
        assert ledger.tracking is not None
        ledger.tracking.replied(unit, kind)
    ledger.error_received()
    assert len(ledger.expected) == 2


def test_a_query_behind_a_group_that_came_before_it_is_not_answered_if_that_failed() -> None:
    ledger = Ledger()
    ledger.packet_ended(memoryview(GROUP))
    assert ledger.opened is not None
    ledger.call_sent(Query.kind, None, memoryview(ledger.opened))
    ledger.unit_sent(SYNC, memoryview(b""))
    ledger.error_received()
    answered(ledger)
    assert not ledger.expected


@pytest.mark.parametrize("replied", range(4))
def test_replies_to_an_open_group_are_counted_until_a_call_follows(replied: int) -> None:
    ledger = Ledger()
    ledger.unit_sent(SYNC, memoryview(GROUP))
    ledger.packet_ended(memoryview(GROUP))
    for kind in REPLIES:  # these are about the group before
        assert ledger.step_ended(kind)
    answered(ledger)
    for kind in REPLIES[:replied]:
        assert ledger.step_ended(kind)
    assert ledger.opened == GROUP
    ledger.call_sent(Query.kind, None, memoryview(ledger.opened))
    ledger.unit_sent(SYNC, memoryview(b""))
    ledger.error_received()
    is_its_own = replied == len(REPLIES)
    assert kinds(ledger) == ([Query.kind, SYNC] if is_its_own else [SYNC])
    answered(ledger)


def test_too_much_that_is_not_answered_is_a_crowd() -> None:
    ledger = Ledger()
    tracking = ledger.track(memoryview(b""))
    for _ in range(15_000):
        tracking.sent(Close.kind, b"S\0")
        ledger.unit_sent(SYNC, memoryview(b""))
    assert ledger.is_crowded()
    for _ in range(7_000):
        answered(ledger)
    assert not ledger.is_crowded()
    for _ in range(25_000):  # of one group, which has no end yet
        tracking.sent(Close.kind, b"S\0")
    assert ledger.is_crowded()
    for _ in range(8_000):
        answered(ledger)
    for _ in range(25_000):
        assert ledger.step_ended(CLOSE_COMPLETE)
    assert not ledger.is_crowded()


def test_replies_without_end_are_not_kept() -> None:
    ledger = Ledger()
    ledger.packet_ended(memoryview(GROUP))
    for _ in range(20_000):
        ledger.step_ended(PARSE_COMPLETE)
    assert (ledger.opened, len(ledger.ended)) == (None, 0)


def test_a_long_open_group_is_not_kept() -> None:
    ledger = Ledger()
    ledger.packet_ended(memoryview(GROUP * 1000))
    assert ledger.opened is None


def test_calls_after_the_error_was_seen_are_skipped_until_the_sync() -> None:
    ledger = Ledger()
    ledger.mid_group = True  # its messages have passed
    ledger.error_received()
    ledger.call_sent(Query.kind, None, None)
    ledger.call_sent(FUNCTION_CALL, None, None)
    assert not ledger.expected
    ledger.unit_sent(SYNC, None)
    ledger.call_sent(Query.kind, None, memoryview(b""))
    assert list(ledger.expected) == [SYNC, Query.kind]


def test_an_error_of_a_query_alone_skips_nothing() -> None:
    ledger = Ledger()
    ledger.call_sent(Query.kind, None, memoryview(b""))
    ledger.call_sent(Query.kind, None, memoryview(b""))
    ledger.error_received()
    assert len(ledger.expected) == 2


def test_a_failed_copy_of_an_execute_skips_up_to_the_sync() -> None:
    ledger = Ledger()
    ledger.unit_sent(SYNC, memoryview(b""))
    ledger.copy_in_started()
    assert not ledger.expected
    ledger.error_received()
    ledger.call_sent(Query.kind, None, None)
    assert not ledger.expected
    ledger.unit_sent(SYNC, None)
    assert list(ledger.expected) == [SYNC]


@pytest.mark.parametrize("synced", [True, False])
def test_data_of_a_copy_that_is_sent_without_waiting_ends_it(synced: bool) -> None:
    """The server ignores a Sync before the end of the data, and answers the one behind it."""
    ledger = Ledger()
    data = encode_message(ord("d"), b"1")
    if synced:
        ledger.unit_sent(SYNC, memoryview(GROUP))
    ledger.unit_sent(COPY_DONE, memoryview(data if synced else GROUP + data))
    ledger.unit_sent(SYNC, memoryview(b""))
    ledger.call_sent(Query.kind, None, memoryview(b""))
    ledger.copy_in_started()
    assert kinds(ledger) == [SYNC, Query.kind]
    assert not ledger.copying_in


def test_data_of_two_copies_can_be_sent_before_the_server_begins_either() -> None:
    ledger = Ledger()
    ledger.call_sent(Query.kind, None, memoryview(b""))
    ledger.unit_sent(COPY_DONE, memoryview(b""))
    ledger.unit_sent(COPY_DONE, memoryview(GROUP))
    ledger.copy_in_started()
    answered(ledger)
    ledger.copy_in_started()
    assert not ledger.copying_in
    ledger.unit_sent(SYNC, memoryview(GROUP))
    assert kinds(ledger) == [SYNC]


def test_a_call_behind_a_copy_of_its_group_is_not_answered_if_the_copy_fails() -> None:
    ledger = Ledger()
    ledger.unit_sent(COPY_DONE, memoryview(GROUP))
    for kind in (PARSE_COMPLETE, BIND_COMPLETE):
        unit = ledger.unit_in_doubt()
        assert unit is not None
        assert ledger.tracking is not None
        ledger.tracking.replied(unit, kind)
    ledger.copy_in_started()
    ledger.call_sent(Query.kind, None, None)
    ledger.unit_sent(SYNC, None)
    ledger.error_received()
    assert kinds(ledger) == [SYNC]


def test_a_group_behind_the_data_of_a_copy_stays_open() -> None:
    ledger = Ledger()
    ledger.call_sent(Query.kind, None, memoryview(b""))
    ledger.unit_sent(COPY_DONE, memoryview(b""))
    ledger.mid_group = True  # another message has passed
    ledger.copy_in_started()
    answered(ledger)
    ledger.forget_copy()
    assert ledger.mid_group


def test_of_two_copies_the_syncs_that_are_ignored_are_those_before_their_data() -> None:
    ledger = Ledger()
    ledger.unit_sent(COPY_DONE, memoryview(GROUP))
    ledger.unit_sent(SYNC, memoryview(GROUP))
    ledger.unit_sent(SYNC, memoryview(GROUP))
    ledger.unit_sent(COPY_DONE, memoryview(b""))
    ledger.unit_sent(SYNC, memoryview(b""))
    ledger.copy_in_started()
    assert len(ledger.expected) == 3
    answered(ledger)
    ledger.copy_in_started()
    assert len(ledger.expected) == 1


def test_data_of_a_copy_that_failed_is_not_taken_for_that_of_the_next() -> None:
    ledger = Ledger()
    ledger.call_sent(Query.kind, None, memoryview(b""))
    ledger.unit_sent(COPY_DONE, memoryview(b""))
    ledger.error_received()
    answered(ledger)
    ledger.unit_sent(SYNC, memoryview(GROUP))
    ledger.copy_in_started()
    assert ledger.copying_in
    assert not ledger.expected


def test_data_without_a_copy_is_not_kept() -> None:
    ledger = Ledger()
    ledger.unit_sent(COPY_DONE, memoryview(b""))
    assert not ledger.data_sent
    ledger.call_sent(Query.kind, None, memoryview(b""))
    for _ in range(1_000):
        ledger.unit_sent(COPY_DONE, memoryview(b""))
    assert len(ledger.data_sent) == 100
    answered(ledger)
    ledger.unit_sent(SYNC, memoryview(b""))
    assert not ledger.data_sent
    assert ledger.simple


def parse(tracking: Tracking, name: bytes, plan: Plan) -> None:
    tracking.parsed(Parse(name, b"SELECT 1", NO_PARAMETER_TYPES), plan)


def tracked() -> tuple[Ledger, Tracking]:
    ledger = Ledger()
    tracking = ledger.track(memoryview(b""))
    parse(tracking, b"s", PLAN)
    ledger.unit_sent(SYNC, memoryview(b""))
    unit = ledger.unit_in_doubt()
    assert unit is not None
    tracking.replied(unit, PARSE_COMPLETE)
    answered(ledger)
    return ledger, tracking


def test_a_refused_parse_of_a_known_name_leaves_the_old_plan() -> None:
    ledger, tracking = tracked()
    parse(tracking, b"s", OTHER)
    assert tracking.statement(b"s") == OTHER  # for what comes behind it in the same group
    ledger.unit_sent(SYNC, memoryview(b""))
    ledger.error_received()
    assert tracking.statement(b"s") == PLAN


def test_what_the_server_skips_changes_no_name() -> None:
    ledger, tracking = tracked()
    tracking.bound(Bind(b"", b"missing", (), (), ()))
    tracking.sent(Close.kind, Close(ord("S"), b"s").encode()[5:])
    parse(tracking, b"", OTHER)
    ledger.unit_sent(SYNC, memoryview(b""))
    ledger.error_received()
    assert tracking.statement(b"s") == PLAN
    assert tracking.statement(b"") is None


def test_a_failed_parse_without_a_name_leaves_none() -> None:
    ledger, tracking = tracked()
    parse(tracking, b"", PLAN)
    ledger.unit_sent(SYNC, memoryview(b""))
    answered(ledger)
    parse(tracking, b"", OTHER)
    ledger.unit_sent(SYNC, memoryview(b""))
    ledger.error_received()
    assert tracking.statement(b"") is None


def test_names_are_bounded_in_number_and_size() -> None:
    _, tracking = tracked()
    for number in range(5_000):
        parse(tracking, b"%d" % number, PLAN)
    known = [number for number in range(5_000) if tracking.statement(b"%d" % number)]
    assert known == list(range(4_000, 5_000))  # the latest
    for number in range(100):
        parse(tracking, b"long %d" % number, Plan(b"x" * 60_000))
    long = [number for number in range(100) if tracking.statement(b"long %d" % number)]
    assert long == [96, 97, 98, 99]


def test_a_group_of_any_messages_is_taken_over() -> None:
    ledger = Ledger()
    tracking = ledger.track(memoryview(GROUP + encode_message(ord("H"), b"")))
    assert tracking.open is not None
    assert len(tracking.open.steps) == 3
