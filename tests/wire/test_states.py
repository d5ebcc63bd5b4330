"""Every event in every state: a next state from the table, or a ProtocolViolation."""

from __future__ import annotations

import itertools

import pytest

from durproxy.errors import ProtocolViolation
from durproxy.wire.states import TRANSITIONS, Event, State, next_state


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_every_pair_leads_somewhere_or_is_refused(state: State, event: Event) -> None:
    if (state, event) in TRANSITIONS:
        assert next_state(state, event) in State
    else:
        with pytest.raises(ProtocolViolation, match=event.value):
            next_state(state, event)


def test_every_state_can_be_reached_and_left() -> None:
    reached = {State.GREETING}
    while True:
        further = {after for (before, _), after in TRANSITIONS.items() if before in reached}
        if further <= reached:
            break
        reached |= further
    assert reached == set(State)
    assert {before for before, _ in TRANSITIONS} == set(State) - {State.CLOSED}


def test_a_connection_can_end_in_every_state() -> None:
    for state in set(State) - {State.CLOSED}:
        assert next_state(state, Event.CONNECTION_ENDED) is State.CLOSED
