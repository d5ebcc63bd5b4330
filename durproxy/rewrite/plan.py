"""What the proxy does with a statement that mentions df: the one entry to the rewriter.

Fails open: a text that cannot be decoded, is too long, does not parse, or meets a fault of ours
is forwarded as it is. The home schema has the real functions, so that is never wrong, only less
helpful.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Final

from pglast import ast

from durproxy.rewrite import dsl
from durproxy.rewrite.bodies import Body, body_of, statement_span
from durproxy.rewrite.body_dsl import BodyReading
from durproxy.rewrite.check import Fault, Place, check, line_and_column
from durproxy.rewrite.extension import extension_edit
from durproxy.rewrite.holding import Hold, Parameter, find_hold
from durproxy.rewrite.lint import lint_edits
from durproxy.rewrite.literals import has_plain_backslash
from durproxy.rewrite.parse import SyntaxFault, TooLong, Tree, decode, parse
from durproxy.rewrite.scan import may_wake, mentions_df
from durproxy.rewrite.splice import (
    Edit,
    Unspliceable,
    apply,
    in_order,
    qualify,
    refuse,
    refuse_block,
)

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

# A refusal in any other statement would be stored, not raised; or, in a function, would keep a
# dump from being restored: what a definition has wrong, the call says.
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
    extension: bool = False  # a statement about the extension became one about its stand-in

    def original_position(self, position: int) -> int:
        """Return where a character of the forwarded text stands in the user's; both from 1."""
        if self.text is not None and position > len(self.text) + 1:
            return position  # in another text: that of a function which was compiled
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
    standard = session.standard_conforming_strings
    if not standard and has_plain_backslash(text):
        return forward
    try:
        plan = plan_text(text, codec, standard_conforming_strings=standard)
    except Exception:  # noqa: BLE001  whatever the text did to us, it is the server's to answer
        return forward
    return replace(plan, wakes_engine=forward.wakes_engine)


def plan_text(text: str, codec: str, *, standard_conforming_strings: bool = True) -> Plan:
    """Plan a decoded text. Raises what ``plan_statement`` turns into FORWARD."""
    try:
        statements = parse(text)
        about = [edit for raw in statements if (edit := extension_edit(text, raw)) is not None]
        edits = in_order(
            edit for raw in statements for edit in _edits(text, raw, standard_conforming_strings)
        )
        edits = in_order((*about, *edits))
    except (SyntaxFault, TooLong, Unspliceable):
        return FORWARD
    if not edits:
        return Plan(hold=find_hold(text, codec, statements))
    return Plan(apply(text, edits).encode(codec), edits, extension=bool(about))


_cached = lru_cache(_CACHED_TEXTS)(_plan)


def _edits(text: str, raw: Tree, standard: bool) -> Iterator[Edit]:
    found = dsl.find(raw.stmt)
    for operator in found.operators:
        yield qualify(text, operator)
    if isinstance(raw.stmt, _PLANNED):
        yield from _refusals(text, found)
        yield from lint_edits(text, found)
    elif isinstance(raw.stmt, ast.DoStmt | ast.CreateFunctionStmt):
        body = body_of(text, raw)
        if body is not None and (standard or not has_plain_backslash(body.code)):
            yield from _body_edits(text, raw, body)


def _refusals(text: str, found: dsl.Findings) -> Iterator[Edit]:
    for call, index, expression in dsl.starts(found):
        fault = _checked(text, call, expression, partial(line_and_column, text))
        if fault is not None:
            yield from refuse(text, call, index, fault)


def _body_edits(text: str, raw: Tree, body: Body) -> Iterator[Edit]:
    try:
        reading = BodyReading(body)
    except TooLong:
        return
    is_block = isinstance(raw.stmt, ast.DoStmt)
    fault = _block_fault(text, body, reading) if is_block else None
    if fault is None:
        yield from reading.edits()
    else:
        yield refuse_block(*statement_span(text, raw), fault)


def _block_fault(text: str, body: Body, reading: BodyReading) -> Fault | None:
    """Return what is wrong in a DO block, unless it may have been written to catch that."""
    if reading.catches_errors():
        return None
    for part in reading.expressions:

        def place(position: int, shift: int = part.shift) -> tuple[int, int]:
            return line_and_column(text, body.positions[position + shift])

        for call, _, expression in dsl.starts(part.findings):
            fault = _checked(part.text, call, expression, place)
            if fault is not None:
                return fault
    return None


def _checked(text: str, call: Tree, expression: Tree, place: Place) -> Fault | None:
    try:
        return check(text, call.location, expression, place)
    except RecursionError:  # deeper than we can read: the server's own check has the limit
        return None
