"""docs/language.md is true: its examples print what it says, and nothing of df is missing."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from tests.df.http_server import http_server
from tests.df.script import Session, transcript
from tests.df.test_cases import difference
from tests.fix_postgres import Database
from tests.fix_serve import Serve, ServeWith

LANGUAGE = Path(__file__).parents[2] / "docs" / "language.md"
RECORDING = "DURPROXY_RECORD_CASES" in os.environ
_BLOCK = re.compile(r"(?<=```sql\n).*?(?=```)", re.DOTALL)
_ENTRY = re.compile(r"`df\.(\w+)\(([^)]*)\)`")
_PORT = "127.0.0.1:8080"


@pytest.fixture
def http_port() -> Iterator[int]:
    def echo(path: str, body: bytes) -> str:
        return f"{path} {len(body)}" if path == "/upload" else f"{path} {body.decode()}"

    with http_server(echo) as port:
        yield port


@pytest.fixture
def server(serve_with: ServeWith) -> Serve:
    return serve_with(http_allow_private=True)


def test_examples_print_what_the_text_says(server: Serve, http_port: int) -> None:
    reader = server.home.add_role()
    server.home.psql(f"CREATE SCHEMA AUTHORIZATION {reader.name}", "postgres")
    server.home.psql(f"SELECT df.grant_usage('{reader.name}', true, true)")
    roles = {"me": reader}
    server.home.psql("DROP ROLE IF EXISTS somebody; CREATE ROLE somebody", "postgres")
    server.home.psql(f"GRANT somebody TO {server.home.role}", "postgres")
    server.home.psql(
        "GRANT EXECUTE ON FUNCTION df.grant_viewer(text), df.grant_operator(text),"
        f" df.grant_engine(text) TO {reader.name}"
    )

    def connect(name: str) -> psycopg.Connection:
        return server.connect(roles[name])

    text = LANGUAGE.read_text()
    with closing(Session(connect, {})) as session:

        def run(block: re.Match[str]) -> str:
            script = block[0].replace(_PORT, f"127.0.0.1:{http_port}")
            return transcript(script, session).replace(f"127.0.0.1:{http_port}", _PORT)

        printed = _BLOCK.sub(run, text)
    if RECORDING:
        LANGUAGE.write_text(printed)
        return
    assert printed == text, "\n" + difference(text, printed)


def test_everything_in_the_schema_has_an_entry(home: Database) -> None:
    headings = "\n".join(re.findall(r"^### .*", LANGUAGE.read_text(), re.MULTILINE))
    entries: dict[str, list[list[str]]] = {}
    for name, arguments in _ENTRY.findall(headings):
        entries.setdefault(name, []).append([a for a in arguments.split(", ") if a])
    with home.connect() as owner:
        functions = owner.execute(
            "SELECT proname, coalesce(proargnames[: pronargs], '{}') FROM pg_proc"
            " WHERE pronamespace = 'df'::regnamespace AND proname NOT LIKE '\\_%'"
        ).fetchall()
        operators = owner.execute(
            "SELECT DISTINCT oprname FROM pg_operator WHERE oprnamespace = 'df'::regnamespace"
        ).fetchall()
    undocumented = {name for name, _ in functions} ^ entries.keys()
    assert not undocumented, "in docs/language.md and not in df, or the other way round"
    for name, written in entries.items():
        signatures = [arguments for function, arguments in functions if function == name]
        for arguments in written:
            assert any(s[: len(arguments)] == arguments for s in signatures), (name, signatures)
    table = LANGUAGE.read_text().replace("\\|", "|")
    for (operator,) in operators:
        assert re.search(rf"^\| `[^`]*{re.escape(operator)} ", table, re.MULTILINE), operator
