"""SQL scripts with what they print beside each statement: read, run, written down again.

A script is what one could type into psql. A statement ends with ``;``, ``\\gset`` (its columns
become variables) or ``\\run`` (the text is an expression of the language: it is started and
awaited). Under it stands what it prints:

    SELECT df.status('00000000');
    --> NULL
    SELECT df.sleep(-1);
    --! 22023: sleep duration must be non-negative, got -1

``-->`` is a row as psql -At shows it, ``--!`` an error, ``--#`` a notice. ``:'id'``, ``:"id"`` and
``:id`` are variables; in what is printed their values show as ``:id``. ``\\as NAME`` goes on as
another role. ``\\verbose`` shows DETAIL and HINT from there on.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import psycopg
from psycopg import pq, sql

_MARKS = ("-->", "--!", "--#")
_VARIABLE = re.compile(r"(?<![:\w]):(?:'(\w+)'|\"(\w+)\"|([a-z_]\w*))")
_ERROR = re.compile(r"error: (.*?) \(SQLSTATE (\w{5})\)", re.DOTALL)
_WHOLE_ERROR = re.compile(r"^Error:    (.*)$", re.MULTILINE)
_BODY = re.compile(r"\$\w*\$")

Connect = Callable[[str], psycopg.Connection]


@dataclass
class Block:
    """Lines up to and with the end of a statement, and what is expected under it."""

    lines: list[str]
    expected: list[str] = field(default_factory=list)

    @property
    def statement(self) -> str:
        """Without the comments and the empty lines before it."""
        lines = list(self.lines)
        while lines and (not lines[0].strip() or lines[0].startswith("--")):
            lines.pop(0)
        return "\n".join(lines)


def read(text: str) -> list[Block]:
    """The statements of a script; a last block may hold only comments."""
    blocks = [Block([])]
    ended = False
    for line in text.splitlines():
        if line.startswith(_MARKS):
            blocks[-1].expected.append(line.rstrip())
            continue
        if ended:
            blocks.append(Block([]))
        blocks[-1].lines.append(line)
        ended = _ends("\n".join(blocks[-1].lines), line)
    return blocks


def _ends(text: str, line: str) -> bool:
    if line.startswith("--") or len(_BODY.findall(text)) % 2:
        return False
    return bool(re.search(r"(;|\\gset|\\run)\s*(--.*)?$", line) or re.match(r"\\\w+", line))


class Session:
    """Runs statements as one role or another, and prints what they answer."""

    def __init__(
        self, connect: Connect, variables: dict[str, str], *, extended: bool = False
    ) -> None:
        self._connect = connect
        self._variables = variables
        self._extended = extended
        self._connections: dict[str, psycopg.Connection] = {}
        self._role = ""
        self._verbose = False
        self._printed: list[str] = []
        self.act_as("me")

    def act_as(self, role: str) -> None:
        self._role = role
        if role not in self._connections:
            connection = self._connect(role)
            connection.add_notice_handler(self._notice)
            self._connections[role] = connection

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()

    def run(self, statement: str) -> list[str]:
        """What the statement prints."""
        self._printed = []
        if command := re.match(r"\\as (\w+)$", statement):
            self.act_as(command[1])
        elif statement == "\\verbose":
            self._verbose = True
        elif found := re.match(r"(.*?)\s*\\(gset|run)$", statement, re.DOTALL):
            text = self._expanded(found[1])
            (self._set if found[2] == "gset" else self._run_workflow)(text)
        elif statement:
            self._show(self._ask(self._expanded(statement)))
        return self._printed

    def _expanded(self, text: str) -> str:
        def value(match: re.Match[str]) -> str:
            name = match[1] or match[2] or match[3]
            if name not in self._variables:
                return match[0]
            raw = self._variables[name]
            if match[3]:
                return raw
            made = sql.Literal(raw) if match[1] else sql.Identifier(raw)
            return made.as_string(None).strip()

        return _VARIABLE.sub(value, text)

    def _ask(self, text: str) -> pq.abc.PGresult:
        pgconn = self._connections[self._role].pgconn
        if self._extended:
            return pgconn.exec_params(text.encode(), [])
        return pgconn.exec_(text.encode())

    def _set(self, text: str) -> None:
        result = self._ask(text)
        if result.status != pq.ExecStatus.TUPLES_OK:
            self._show(result)
        for column in range(result.nfields):
            name = (result.fname(column) or b"").decode()
            value = result.get_value(0, column)
            self._variables[name] = "" if value is None else value.decode()

    def _run_workflow(self, expression: str) -> None:
        started = self._ask(f"SELECT df.start({expression})")
        if started.status != pq.ExecStatus.TUPLES_OK:
            self._show(started)
            return
        self._variables["run"] = instance = _text(started, 0, 0)
        status = _text(self._ask(f"SELECT df.await_instance('{instance}', 20)"), 0, 0)
        if status == "completed":
            result = _text(self._ask(f"SELECT df.result('{instance}')"), 0, 0)
            self._print("-->", f"completed: {result}")
            return
        explained = _text(self._ask(f"SELECT df.explain('{instance}')"), 0, 0)
        found = _ERROR.search(explained)
        if found is not None:
            self._print("-->", f"{status}: {found[2]} {found[1]}")
            return
        whole = _WHOLE_ERROR.search(explained)  # not of a node: it could not even begin
        self._print("-->", f"{status}: {whole[1] if whole else explained}")

    def _show(self, result: pq.abc.PGresult) -> None:
        if result.status == pq.ExecStatus.TUPLES_OK:
            for row in range(result.ntuples):
                cells = (_text(result, row, column) for column in range(result.nfields))
                self._print("-->", "|".join(cells))
            if not result.ntuples:
                self._print("-->", "(no rows)")
        elif result.status not in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.EMPTY_QUERY):
            fields = {
                name: (result.error_field(code) or b"").decode()
                for name, code in (
                    ("sqlstate", pq.DiagnosticField.SQLSTATE),
                    ("message", pq.DiagnosticField.MESSAGE_PRIMARY),
                    ("detail", pq.DiagnosticField.MESSAGE_DETAIL),
                    ("hint", pq.DiagnosticField.MESSAGE_HINT),
                )
            }
            self._print("--!", f"{fields['sqlstate']}: {fields['message']}")
            if self._verbose:
                for name in ("detail", "hint"):
                    if fields[name]:
                        self._print("--!", f"{name}: {fields[name]}")

    def _notice(self, notice: psycopg.errors.Diagnostic) -> None:
        self._print("--#", f"{notice.severity}: {notice.message_primary}")

    def _print(self, mark: str, text: str) -> None:
        for name, value in self._variables.items():
            if re.fullmatch(r"[0-9a-f]{8}|role_\d+|db_\d+|group_of_role_\d+", value):
                text = re.sub(rf"\b{value}\b", f":{name}", text)
        self._printed += [f"{mark} {line}".rstrip() for line in text.split("\n")]


def _text(result: pq.abc.PGresult, row: int, column: int) -> str:
    value = result.get_value(row, column)
    return "NULL" if value is None else value.decode()


def transcript(script: str, session: Session) -> str:
    """The script with what its statements print now."""
    lines: list[str] = []
    for block in read(script):
        lines += [*block.lines, *session.run(block.statement)]
    return "\n".join(lines) + "\n"
