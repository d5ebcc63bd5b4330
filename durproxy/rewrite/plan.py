"""What the proxy does with a statement that mentions df: the one entry to the rewriter.

Fails open: a text that cannot be decoded, is too long, does not parse, or meets a fault of ours
is forwarded as it is. The home schema has the real functions, so that is never wrong, only less
helpful.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from pglast import ast

from durproxy.rewrite import dsl
from durproxy.rewrite.check import check
from durproxy.rewrite.holding import Hold, Parameter, find_hold
from durproxy.rewrite.literals import has_plain_backslash
from durproxy.rewrite.parse import SyntaxFault, TooLong, Tree, decode, parse
from durproxy.rewrite.scan import may_wake, mentions_df
from durproxy.rewrite.splice import Edit, Unspliceable, apply, in_order, qualify, refuse

__all__ = [
    "FORWARD",
    "Edit",
    "Hold",
    "Parameter",
    "Plan",
    "Session",
    "mentions_df",
    "plan_statement",
]

# Together they bound the memory of the cache.
_CACHED_TEXTS: Final = 2048
_LONGEST_CACHED: Final = 8 * 1024

# Their bodies are text to the server, and a refusal inside would be stored, not raised.
_BODIES: Final = (ast.DoStmt, ast.CreateFunctionStmt)
_PLANNED: Final = (
    ast.SelectStmt,
    ast.InsertStmt,
    ast.UpdateStmt,
    ast.DeleteStmt,
    ast.MergeStmt,
    ast.CreateTableAsStmt,
    ast.DeclareCursorStmt,
    ast.PrepareStmt,
    ast.ExplainStmt,
    ast.CallStmt,
)


@dataclass(frozen=True, slots=True)
class Session:
    """What of a connection decides how its texts read."""

    client_encoding: str
    standard_conforming_strings: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What the proxy does with one Query or Parse."""

    text: bytes | None = None  # None: forward the user's bytes as they are
    edits: tuple[Edit, ...] = ()
    wakes_engine: bool = False
    hold: Hold | None = None

    def original_position(self, position: int) -> int:
        """Return where a character of the forwarded text stands in the user's; both from 1."""
        moved = 0
        for edit in self.edits:
            start = edit.start + moved
            if position - 1 < start:
                break
            if position - 1 < start + len(edit.text):
                return edit.start + 1
            moved += len(edit.text) - (edit.end - edit.start)
        return position - moved


FORWARD: Final = Plan()
_FORWARD_AND_WAKE: Final = Plan(wakes_engine=True)


def plan_statement(text: bytes, session: Session) -> Plan:
    """Return what to do with the text of a Query or Parse, without its final NUL. Never raises."""
    return (_cached if len(text) <= _LONGEST_CACHED else _plan)(bytes(text), session)


def _plan(raw: bytes, session: Session) -> Plan:
    forward = _FORWARD_AND_WAKE if may_wake(raw) else FORWARD
    decoded = decode(raw, session.client_encoding)
    if decoded is None:
        return forward
    text, codec = decoded
    if not session.standard_conforming_strings and has_plain_backslash(text):
        return forward
    try:
        return replace(plan_text(text, codec), wakes_engine=forward.wakes_engine)
    except Exception:  # noqa: BLE001  whatever the text did to us, it is the server's to answer
        return forward


def plan_text(text: str, codec: str) -> Plan:
    """Plan a decoded text. Raises what ``plan_statement`` turns into FORWARD."""
    try:
        statements = parse(text)
        edits = in_order(edit for raw in statements for edit in _edits(text, raw.stmt))
    except (SyntaxFault, TooLong, Unspliceable):
        return FORWARD
    if not edits:
        return Plan(hold=find_hold(text, codec, statements))
    return Plan(apply(text, edits).encode(codec), edits)


_cached = functools.lru_cache(_CACHED_TEXTS)(_plan)


def _edits(text: str, statement: Tree) -> Iterator[Edit]:
    if isinstance(statement, _BODIES):
        return
    found = dsl.find(statement)
    for operator in found.operators:
        yield qualify(text, operator)
    if isinstance(statement, _PLANNED):
        for function, call in found.calls:
            if function == "start":
                yield from _refusal(text, call)


def _refusal(text: str, call: Tree) -> Iterator[Edit]:
    for index, (parameter, expression) in enumerate(dsl.arguments(call, "start")):
        if parameter != "fut*":
            continue
        try:
            fault = check(text, call.location, expression)
        except RecursionError:  # deeper than we can read: the server's own check has the limit
            fault = None
        if fault is not None:
            yield from refuse(text, call, index, fault)
