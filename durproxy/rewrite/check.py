"""What is wrong with a durable function, said before anything runs: with node, line and column.

Only constants can be checked. What only the server knows (tables, columns, types) stays an error
of the step that meets it; a step whose text still has ``{variables}`` outside literals is parsed
when they are known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from pglast import ast

from durproxy.engine.core import lexer
from durproxy.engine.core.graph import as_statement
from durproxy.engine.core.lexer import TokenKind
from durproxy.engine.core.numbering import children, numbered
from durproxy.engine.core.problem import Problem
from durproxy.engine.core.references import find_references
from durproxy.engine.core.validate import config_of, validate
from durproxy.rewrite.literals import position_in_literal
from durproxy.rewrite.parenthesised import IN_A_LINE, parenthesised, relies_on_precedence
from durproxy.rewrite.parse import SyntaxFault, TooLong, Tree, only_kind, parse
from durproxy.rewrite.places import literals_of
from durproxy.rewrite.reading import Reading, read
from durproxy.rewrite.step import PLAIN_KINDS, neutral, refusal, takes_values

_EXCERPT = 80
# A name that nothing bound and a misplaced construct often come from other parentheses than meant.
_OF_THE_SHAPE = frozenset({"42P02", "22023"})

#: From a position in the text that was parsed to line and column in the user's statement, from 1.
Place = Callable[[int], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Fault:
    """A refusal in Postgres's terms."""

    sqlstate: str
    message: str
    detail: str | None
    hint: str | None


def line_and_column(text: str, position: int) -> tuple[int, int]:
    """Return where a character stands, as people count."""
    return text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position)


def check(text: str, start: int, expression: Tree, place: Place) -> Fault | None:
    """Return the first thing that is wrong with a node's expression in the call at ``start``."""
    reading = read(expression)
    if reading.problems:
        operator, problem = reading.problems[0]
        return _fault(problem, getattr(operator, "location", None), None, place)
    if reading.graph is None:
        return None
    nodes = list(numbered(reading.graph))
    problems = validate(reading.graph)
    if not any(problem.sqlstate.startswith("54") for problem in problems):
        problems += _step_problems(nodes)
    if not problems:
        return None
    first = min(problems, key=lambda p: (p.node, p.position or 0))
    node = nodes[first.node - 1][1]
    if first.sqlstate in _OF_THE_SHAPE and relies_on_precedence(text, start):
        first = _with_reading(first, expression)
    return _fault(first, _position(text, start, reading, first, node), node, place)


def _with_reading(problem: Problem, expression: Tree) -> Problem:
    reads = (
        f"It reads {parenthesised(expression, IN_A_LINE)}: ~>, & and | bind alike, from the left."
    )
    return replace(problem, hint=f"{problem.hint} {reads}" if problem.hint else reads)


def _step_problems(nodes: list[tuple[int, dict[str, Any]]]) -> Iterator[Problem]:
    conditions = {
        id(node["condition_node"])
        for _, node in nodes
        if isinstance(node.get("condition_node"), dict)
    }
    for number, node in nodes:
        if node.get("node_type") == "SQL" and isinstance(node.get("query"), str):
            problem = _step_problem(number, node["query"], is_condition=id(node) in conditions)
        elif node.get("node_type") == "WAIT_CONDITION":
            problem = _wait_problem(number, config_of(node).get("query"))
        else:
            problem = None
        if problem is not None:
            yield problem


def _wait_problem(number: int, query: object) -> Problem | None:
    """What is wrong with a query that is asked again and again; where in it is not known."""
    if not isinstance(query, str):
        return None
    problem = _step_problem(number, query, is_condition=True)
    if problem is not None:
        return replace(problem, position=None)
    try:
        statements = parse(neutral(as_statement(query)))
    except (TooLong, SyntaxFault):
        return None
    if len(statements) == 1 and isinstance(statements[0].stmt, ast.SelectStmt):
        return None
    message = "df.wait_for_condition() takes one query that changes nothing"
    return Problem(number, message, "It is asked again and again until it is true.", "0A000")


def _step_problem(number: int, query: str, *, is_condition: bool) -> Problem | None:
    if not query.strip():
        return Problem(number, "a step cannot be empty", sqlstate="42601")
    if "{" in query and _has_variable(query):
        return None
    sql = as_statement(query) if is_condition else query
    shift = len(sql) - len(query)
    text = neutral(sql)
    if only_kind(text) in PLAIN_KINDS:
        return None
    try:
        statements = parse(text)
    except TooLong:
        return None
    except SyntaxFault as fault:
        return _syntax_problem(number, query, fault.message, fault.position - shift)
    if not statements:
        return Problem(number, "a step cannot be empty", sqlstate="42601")
    for raw in statements:
        if (reason := refusal(raw.stmt)) is not None:
            return Problem(number, reason, sqlstate="0A000")
        if not takes_values(raw.stmt) and (references := find_references(query)):
            return Problem(
                number,
                f'the reference "{references[0]}" cannot be used in this kind of statement',
                "SELECT, INSERT, UPDATE, DELETE, MERGE, VALUES and CALL take values.",
                "0A000",
                references[0].start,
            )
    return None


def _syntax_problem(number: int, query: str, message: str, position: int) -> Problem:
    for reference in find_references(query):
        if reference.start == position and not reference.in_literal:
            message = f'the reference "{reference}" cannot be used here'
            hint = "A reference stands for a value; for a name use a variable, {name}."
            return Problem(number, message, hint, "42601", position)
    hint = "A step is a SQL statement as you would run it by itself."
    return Problem(number, f"{message} in a step", hint, "42601", position)


def _has_variable(query: str) -> bool:
    return any(
        token.kind is TokenKind.PUNCTUATION and query[token.start] == "{"
        for token in lexer.tokens(query)
    )


def _position(text: str, start: int, reading: Reading, problem: Problem, node: Any) -> int | None:
    """Return where in the statement a problem's character stands, as well as is known."""
    found = literals_of(text, start, reading).get(id(node))
    if found is None:
        return reading.locations.get(id(node))
    token, constant = found
    if problem.position is None or not constant.whole:
        return token.start
    return position_in_literal(text, token, problem.position)


def _fault(problem: Problem, position: int | None, node: Any, place: Place) -> Fault:
    where = [f"node {problem.node}"] if problem.node else []
    if position is not None:
        line, column = place(position)
        where.append(f"line {line}, column {column}")
    detail = f"At {', '.join(where)}" if where else None
    if detail is not None:
        excerpt = _excerpt(node, problem.position)
        detail += f": {excerpt}" if excerpt else "."
    return Fault(problem.sqlstate, problem.message, detail, problem.hint)


def _excerpt(node: Any, position: int | None) -> str:
    """Return the part of a step's text around a position, on one line."""
    query = node.get("query") if isinstance(node, dict) else None
    if not isinstance(query, str) or node.get("node_type") != "SQL" or any(children(node)):
        return ""
    start = max(0, min(position or 0, len(query)) - _EXCERPT // 2)
    end = start + _EXCERPT
    shown = " ".join(query[start:end].split())
    return ("... " if start else "") + shown + (" ..." if end < len(query) else "")
