"""Which instance a message group waits for, and how long: certain, or None.

A group can be held when it does nothing but run one statement whose id and timeout are literals
or bound values. Everything else is None and goes to the server, whose function waits by itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from durproxy.rewrite.plan import Hold, Parameter
from durproxy.wire.framing import split_messages
from durproxy.wire.frontend import FLUSH, SYNC, Bind, Describe, Execute, Parse

_INSTANCE_ID = re.compile(r"[0-9a-f]{8}")
_LONGEST = 30 * 24 * 3600  # seconds; nobody means more


@dataclass(frozen=True, slots=True)
class Awaited:
    """An instance that a client waits for."""

    instance_id: str
    timeout: float  # seconds


def awaited_by_query(hold: Hold) -> Awaited | None:
    """Of a Query that is this one statement."""
    return _awaited(hold, None)


def awaited_by_group(hold: Hold, parse: Parse, rest: memoryview) -> Awaited | None:
    """Of a Parse with everything up to its Sync behind it.

    Only the unnamed statement: a named one stays, and what goes to the server under its name must
    be what the client wrote.
    """
    if parse.statement:
        return None
    messages = split_messages(rest)
    if not messages or messages[0][0] != Bind.kind:
        return None
    bind = Bind.parse(messages[0][1])
    if bind.statement or not _runs_once(messages[1:]):
        return None
    return _awaited(hold, bind)


def awaited_by_bind(hold: Hold, bind: Bind, rest: memoryview) -> Awaited | None:
    """Of a Bind with everything up to its Sync behind it."""
    return _awaited(hold, bind) if _runs_once(split_messages(rest)) else None


def _awaited(hold: Hold, bind: Bind | None) -> Awaited | None:
    instance_id: str | None
    if isinstance(hold.instance_id, Parameter):
        instance_id = _bound_text(bind, hold.instance_id.index)
    else:
        instance_id = hold.instance_id
    timeout: int | None
    if isinstance(hold.timeout, Parameter):
        timeout = _bound_integer(bind, hold.timeout.index)
    else:
        timeout = hold.timeout
    if instance_id is None or timeout is None or not 0 < timeout <= _LONGEST:
        return None
    return Awaited(instance_id, timeout) if _INSTANCE_ID.fullmatch(instance_id) else None


def _bound_value(bind: Bind | None, index: int) -> tuple[bytes, int] | None:
    if bind is None or index >= len(bind.parameters):
        return None
    if len(bind.parameter_formats) not in (0, 1, len(bind.parameters)):
        return None
    value = bind.parameters[index]
    return None if value is None else (value, bind.format_of(index))


def _bound_text(bind: Bind | None, index: int) -> str | None:
    """A text's bytes are the same in both formats."""
    bound = _bound_value(bind, index)
    return None if bound is None else bound[0].decode("latin-1")


def _bound_integer(bind: Bind | None, index: int) -> int | None:
    bound = _bound_value(bind, index)
    if bound is None:
        return None
    value, binary = bound
    if binary:
        return int.from_bytes(value, "big", signed=True) if len(value) in (2, 4, 8) else None
    return int(value) if value.isdigit() and len(value) < 10 else None


def _runs_once(messages: list[tuple[int, memoryview]]) -> bool:
    """Perhaps a Describe of the portal, one Execute for all rows, a Sync, and no more."""
    kinds = [kind for kind, _ in messages if kind != FLUSH]
    bodies = [body for kind, body in messages if kind != FLUSH]
    if kinds[:1] == [Describe.kind] and Describe.parse(bodies[0]).what == ord("P"):
        kinds, bodies = kinds[1:], bodies[1:]
    if kinds != [Execute.kind, SYNC]:
        return False
    return Execute.parse(bodies[0]).max_rows == 0
