"""What a step's SQL is, and so how it can be run and what it gives.

The text has its references rendered already; ``neutral`` puts placeholders of the same length in
their place when there are no values yet. A text that the parser does not know may be of a newer
or older grammar than ours: UNKNOWN, the server tells.
"""

from __future__ import annotations

import enum
import functools
import re
from dataclasses import dataclass
from typing import Final

from pglast import ast
from pglast.enums import DiscardMode, ObjectType, TransactionStmtKind

from durproxy.engine.core import lexer
from durproxy.engine.core.lexer import TokenKind
from durproxy.engine.core.references import ReferenceKind, find_references
from durproxy.rewrite.parse import SyntaxFault, TooLong, Tree, parse


class StepKind(enum.Enum):
    """How a step behaves when it is run."""

    QUERY = enum.auto()  # one SELECT, VALUES or TABLE: can stand in FROM (…) q
    ROWS = enum.auto()  # gives rows, but cannot stand there: RETURNING, SHOW, EXPLAIN, CALL
    COMMAND = enum.auto()  # gives no rows
    MULTI = enum.auto()  # several statements
    REFUSED = enum.auto()  # cannot be a step; ``reason`` says why
    UNKNOWN = enum.auto()  # not parsed


@dataclass(frozen=True, slots=True)
class StepShape:
    """A step's kind, and its text without trailing semicolons and comments.

    Of several statements whose last one gives rows, ``before`` is the text of the others. Of a
    SELECT with changes in its WITH, which must stay at the top, ``main`` is where it begins.
    """

    kind: StepKind
    body: str
    statements: int = 1
    reason: str | None = None
    before: str = ""
    last: StepShape | None = None
    main: int | None = None


_CACHED_TEXTS: Final = 1024
_LONGEST_CACHED: Final = 8 * 1024

_TRANSACTIONS: Final[dict[TransactionStmtKind | None, str]] = {
    TransactionStmtKind.TRANS_STMT_BEGIN: "BEGIN",
    TransactionStmtKind.TRANS_STMT_START: "START TRANSACTION",
    TransactionStmtKind.TRANS_STMT_COMMIT: "COMMIT",
    TransactionStmtKind.TRANS_STMT_ROLLBACK: "ROLLBACK",
    TransactionStmtKind.TRANS_STMT_SAVEPOINT: "SAVEPOINT",
    TransactionStmtKind.TRANS_STMT_RELEASE: "RELEASE SAVEPOINT",
    TransactionStmtKind.TRANS_STMT_ROLLBACK_TO: "ROLLBACK TO SAVEPOINT",
    TransactionStmtKind.TRANS_STMT_PREPARE: "PREPARE TRANSACTION",
    TransactionStmtKind.TRANS_STMT_COMMIT_PREPARED: "COMMIT PREPARED",
    TransactionStmtKind.TRANS_STMT_ROLLBACK_PREPARED: "ROLLBACK PREPARED",
}
_QUERY_WORDS: Final = frozenset(("select", "values", "table"))
_CURSORS: Final = (ast.DeclareCursorStmt, ast.FetchStmt, ast.ClosePortalStmt)
_PREPARED: Final = (ast.PrepareStmt, ast.ExecuteStmt, ast.DeallocateStmt)
_CHANGES: Final = (ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt, ast.MergeStmt)
#: Types of statements that are never refused and always take values; most steps are of these.
PLAIN_KINDS: Final = frozenset(kind.__name__ for kind in (ast.SelectStmt, *_CHANGES))
_SHOWS: Final = (ast.ExplainStmt, ast.VariableShowStmt, ast.CallStmt)


def classify(sql: str) -> StepShape:
    """Tell what kind of step a text is. Never raises."""
    return (_cached if len(sql) <= _LONGEST_CACHED else _classify)(sql)


# What most steps are, told without a parse: a change that gives no rows, a plain SELECT. A word
# that stands in a literal or a comment only sends the text the longer way.
_CHANGE: Final = re.compile(
    r"\s*(?:insert|update|delete)\b(?!.*(?:returning|;))", re.IGNORECASE | re.DOTALL
)
_SELECT: Final = re.compile(r"\s*select\b(?!.*(?:into|;))", re.IGNORECASE | re.DOTALL)


def _classify(sql: str) -> StepShape:
    if _CHANGE.match(sql):
        return StepShape(StepKind.COMMAND, sql)
    if _SELECT.match(sql):
        return StepShape(StepKind.QUERY, sql)
    body = trimmed(sql)
    try:
        statements = parse(body)
    except (TooLong, SyntaxFault):
        return StepShape(StepKind.UNKNOWN, body)
    if not statements:
        return StepShape(StepKind.REFUSED, body, 0, "a step cannot be empty")
    reasons = [reason for raw in statements if (reason := refusal(raw.stmt)) is not None]
    if reasons:
        return StepShape(StepKind.REFUSED, body, len(statements), reasons[0])
    if len(statements) > 1:
        return _several(body, statements)
    into = _into_clause(statements[0].stmt)
    if into is not None:
        return StepShape(StepKind.COMMAND, _created_as(body, into))
    kind = _kind(statements[0].stmt)
    if kind is StepKind.ROWS and isinstance(statements[0].stmt, ast.SelectStmt):
        return StepShape(kind, body, main=_main_query(body))
    return StepShape(kind, body)


def _main_query(body: str) -> int | None:
    """Where the query begins that follows a WITH list: no such word stands in the list itself."""
    depth = 0
    for token in lexer.significant_tokens(body):
        text = body[token.start : token.end]
        if token.kind is TokenKind.PUNCTUATION:
            depth += {"(": 1, ")": -1}.get(text, 0)
        elif depth == 0 and token.kind is TokenKind.NAME and text.lower() in _QUERY_WORDS:
            return token.start
    return None


def _several(body: str, statements: tuple[Tree, ...]) -> StepShape:
    count = len(statements)
    starts = [raw.stmt_location for raw in statements]
    if any(_into_clause(raw.stmt) is not None for raw in statements):
        ends = [*starts[1:], len(body)]
        each = [_classify(body[start:end]) for start, end in zip(starts, ends, strict=True)]
        before, last = ";\n".join(shape.body for shape in each[:-1]), each[-1]
        body = f"{before};\n{last.body}"
    else:
        before, last = trimmed(body[: starts[-1]]), _classify(body[starts[-1] :])
    if last.kind in (StepKind.QUERY, StepKind.ROWS):
        return StepShape(StepKind.MULTI, body, count, before=before, last=last)
    return StepShape(StepKind.MULTI, body, count)


# workflows of one kind run the same texts again and again: values are not in them
_cached = functools.lru_cache(_CACHED_TEXTS)(_classify)


def neutral(sql: str) -> str:
    """Replace each reference by a placeholder that parses the same, every position unchanged."""
    out: list[str] = []
    done = 0
    for reference in find_references(sql):
        if reference.in_literal:
            continue
        placeholder = "t" if reference.kind is ReferenceKind.ROWS else "$1"
        out += sql[done : reference.start], placeholder.ljust(reference.end - reference.start)
        done = reference.end
    return "".join(out) + sql[done:]


def trimmed(sql: str) -> str:
    """Return the text without trailing semicolons, comments and space."""
    end = 0
    for token in lexer.tokens(sql):
        if token.kind in (TokenKind.SPACE, TokenKind.COMMENT):
            continue
        if token.kind is not TokenKind.PUNCTUATION or sql[token.start] != ";":
            end = token.end
    return sql[:end]


def _kind(statement: Tree) -> StepKind:
    if isinstance(statement, ast.SelectStmt):
        return _select_kind(statement)
    if isinstance(statement, _CHANGES):
        return StepKind.ROWS if statement.returningClause is not None else StepKind.COMMAND
    return StepKind.ROWS if isinstance(statement, _SHOWS) else StepKind.COMMAND


def _select_kind(statement: Tree) -> StepKind:
    with_clause = statement.withClause
    changes = with_clause is not None and any(
        isinstance(cte.ctequery, _CHANGES) for cte in with_clause.ctes
    )
    return StepKind.ROWS if changes else StepKind.QUERY


def _into_clause(statement: Tree) -> Tree | None:
    """Return the INTO of a SELECT, which stands in the first part of a UNION."""
    while isinstance(statement, ast.SelectStmt) and statement.larg is not None:
        statement = statement.larg
    return statement.intoClause if isinstance(statement, ast.SelectStmt) else None


def _created_as(body: str, into: Tree) -> str:
    """Write SELECT INTO as CREATE TABLE AS, which can run inside a function."""
    found = lexer.significant_tokens(body)
    name = next(k for k, token in enumerate(found) if token.start == into.rel.location)
    first = name - 1
    while body[found[first].start : found[first].end].upper() != "INTO":
        first -= 1
    last = name
    while last + 2 < len(found) and body[found[last + 1].start : found[last + 1].end] == ".":
        last += 2
    start, end = found[name].start, found[last].end
    kind = {"t": "TEMPORARY ", "u": "UNLOGGED "}.get(into.rel.relpersistence, "")
    select = body[: found[first].start] + body[end:]
    return f"CREATE {kind}TABLE {body[start:end]} AS {select}"


def takes_values(statement: Tree) -> bool:
    """Tell whether the server accepts bound values in a statement, and so references."""
    if isinstance(statement, ast.CreateTableAsStmt):
        return statement.objtype == ObjectType.OBJECT_TABLE
    return isinstance(statement, (ast.SelectStmt, ast.CallStmt, ast.ExplainStmt, *_CHANGES))


def refusal(statement: Tree) -> str | None:
    """Return why a statement cannot be a step."""
    if isinstance(statement, ast.TransactionStmt):
        name = _TRANSACTIONS.get(statement.kind, "this")
        return f"{name} cannot be a step: a step runs in a transaction of its own"
    if isinstance(statement, ast.CopyStmt) and statement.filename is None:
        direction = "FROM STDIN" if statement.is_from else "TO STDOUT"
        return f"COPY {direction} cannot be a step: no client is connected to it"
    if isinstance(statement, ast.DiscardStmt) and statement.target == DiscardMode.DISCARD_ALL:
        return "DISCARD ALL cannot be a step: it cannot run inside a transaction"
    if isinstance(statement, _CURSORS):
        return "a cursor cannot be used in a step: it ends with the step's transaction"
    if isinstance(statement, _PREPARED):
        return "prepared statements cannot be used in a step: each step may have another session"
    return None
