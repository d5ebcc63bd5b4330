"""SCRAM messages with anything in them: refused in words, never by another exception."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scramp import ScramException

from durproxy.proxy.scram import (
    BOUND,
    PLAIN,
    ClientSide,
    LoginFailed,
    ServerSide,
    StoredLoginFailed,
    auth_info,
)

INFO = auth_info("u", "secret")
BINDING = b"certificate's digest"

names = st.sampled_from(["", "n", "y", "n=", "r=", "s=", "i=", "c=", "p=", "v=", "a=", "m=", "e="])
values = st.sampled_from(
    ["", "0", "-1", "1e9", "9" * 400, "9" * 9, "!!!", "=", "ZWU=", "é", "x" * 100_000, "\0", "=2C"]
)
wrong = st.one_of(st.text(max_size=20), st.builds("".join, st.tuples(names, values)))


@st.composite
def changes(draw: st.DrawFn) -> tuple[int, list[tuple[str, int, str]]]:
    """In which of the four messages, and what becomes of its parts."""
    change = st.tuples(
        st.sampled_from(["replace", "insert", "drop", "cut"]), st.integers(0, 5), wrong
    )
    return draw(st.integers(0, 3)), draw(st.lists(change, min_size=1, max_size=3))


def changed(message: str, edits: list[tuple[str, int, str]]) -> str:
    parts = message.split(",")
    for how, at, text in edits:
        at %= len(parts) or 1
        if how == "insert":
            parts.insert(at, text)
        elif how == "replace":
            parts[at : at + 1] = [text]
        elif how == "drop":
            parts[at : at + 1] = []
        else:
            parts[at : at + 1] = [part[:-1] for part in parts[at : at + 1]]
    return ",".join(parts)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([(PLAIN, None), (BOUND, BINDING), (PLAIN, BINDING)]), changes())
def test_a_changed_message_is_refused(
    mechanism: tuple[str, bytes | None], change: tuple[int, list[tuple[str, int, str]]]
) -> None:
    name, binding = mechanism
    which, edits = change
    client, server = ClientSide([name], "secret", binding), ServerSide(name, INFO, binding)
    message, harmless = "", True
    for number, step in enumerate(
        (lambda _: client.first(), server.first, client.final, server.final)
    ):
        try:
            message = step(message)
        except (LoginFailed, StoredLoginFailed, ScramException):
            return
        if number == which:
            harmless = (sent := changed(message, edits)) == message
            message = sent
    try:
        client.check(message)
    except ScramException:
        return
    assert harmless, "nobody noticed"


def test_a_server_that_demands_endless_work_is_left() -> None:
    client = ClientSide([PLAIN], "secret", None)
    nonce = client.first().rpartition("r=")[2]
    with pytest.raises(ScramException, match="must not be >"):
        client.final(f"r={nonce}more,s=c2FsdHNhbHRzYWx0c2FsdA==,i=1000000000")
