"""The states of one relayed connection and every way from one to the next.

Rules. Each transition stands in ``TRANSITIONS`` and nowhere else; an event that the table does
not know in a state is a ProtocolViolation. The table does no work: whoever learns of an event
asks ``next_state`` and then acts. What changes with every message (how many replies are
outstanding, the transaction status) is not a state here: it belongs to the relay.

    GREETING ──> CONNECTING ──> AUTHENTICATING <──> ANSWERING, VOUCHING
                                      │
                                   STARTING ──> RELAYING <──> SETTLING, PLANNING, HELD, PAUSED
                                                                        any of them ──> CLOSED
"""

from __future__ import annotations

from enum import Enum

from durproxy.errors import ProtocolViolation


class State(Enum):
    """Where a connection stands."""

    __hash__ = object.__hash__  # Enum's own is a Python function, and asked at each event

    GREETING = "greeting"  # the client has not said what it wants
    CANCELLING = "cancelling"  # it wanted a cancel, which is on its way
    CONNECTING = "connecting"  # its startup packet is here, the upstream connection is not
    AUTHENTICATING = "authenticating"  # the server's turn in the login
    ANSWERING = "answering"  # the client's turn in the login
    VOUCHING = "vouching"  # the client proves itself to us, and we to the server
    STARTING = "starting"  # logged in; the server tells its settings
    RELAYING = "relaying"  # in the pump, both ways
    SETTLING = "settling"  # how the client's next statement reads, answers to come will tell
    PLANNING = "planning"  # the client's next statement is read elsewhere; it waits
    HELD = "held"  # the client's next statement waits for an instance to end
    PAUSED = "paused"  # an administrator wants nothing more to be read
    CLOSED = "closed"


class Event(Enum):
    """What can happen to a connection."""

    __hash__ = object.__hash__

    ENCRYPTION_REQUESTED = "encryption requested"
    CANCEL_REQUESTED = "cancel requested"
    STARTUP_RECEIVED = "startup received"
    UPSTREAM_CONNECTED = "upstream connected"
    CHALLENGE_RECEIVED = "challenge received"
    PROGRESS_RECEIVED = "progress received"  # a notice, a negotiation, the last SASL message
    ANSWER_RECEIVED = "answer received"
    VOUCHING_STARTED = "vouching started"
    VOUCHED = "vouched"
    LOGIN_ACCEPTED = "login accepted"
    SETTING_RECEIVED = "setting received"
    READY_RECEIVED = "ready received"
    ANSWERS_AWAITED = "answers awaited"
    PLAN_REQUESTED = "plan requested"
    HOLD_STARTED = "hold started"
    STATEMENT_RELEASED = "statement released"
    PAUSE_BEGUN = "pause begun"
    PAUSE_ENDED = "pause ended"
    CONNECTION_ENDED = "connection ended"  # closed, refused or broken, on either side


S, E = State, Event

TRANSITIONS: dict[tuple[State, Event], State] = {
    (S.GREETING, E.ENCRYPTION_REQUESTED): S.GREETING,
    (S.GREETING, E.CANCEL_REQUESTED): S.CANCELLING,
    (S.GREETING, E.STARTUP_RECEIVED): S.CONNECTING,
    (S.CONNECTING, E.UPSTREAM_CONNECTED): S.AUTHENTICATING,
    (S.AUTHENTICATING, E.CHALLENGE_RECEIVED): S.ANSWERING,
    (S.AUTHENTICATING, E.PROGRESS_RECEIVED): S.AUTHENTICATING,
    (S.AUTHENTICATING, E.VOUCHING_STARTED): S.VOUCHING,
    (S.VOUCHING, E.VOUCHED): S.AUTHENTICATING,
    (S.AUTHENTICATING, E.LOGIN_ACCEPTED): S.STARTING,
    (S.ANSWERING, E.ANSWER_RECEIVED): S.AUTHENTICATING,
    (S.STARTING, E.SETTING_RECEIVED): S.STARTING,
    (S.STARTING, E.PROGRESS_RECEIVED): S.STARTING,
    (S.STARTING, E.READY_RECEIVED): S.RELAYING,
    (S.RELAYING, E.ANSWERS_AWAITED): S.SETTLING,
    (S.RELAYING, E.PLAN_REQUESTED): S.PLANNING,
    (S.RELAYING, E.HOLD_STARTED): S.HELD,
    (S.RELAYING, E.PAUSE_BEGUN): S.PAUSED,
    (S.PAUSED, E.PAUSE_ENDED): S.RELAYING,
    (S.SETTLING, E.STATEMENT_RELEASED): S.RELAYING,
    (S.PLANNING, E.STATEMENT_RELEASED): S.RELAYING,
    (S.HELD, E.STATEMENT_RELEASED): S.RELAYING,
    **{(state, E.CONNECTION_ENDED): S.CLOSED for state in State if state is not S.CLOSED},
}


def next_state(state: State, event: Event) -> State:
    """Where the event leads."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise ProtocolViolation(f"{event.value} while {state.value}") from None
