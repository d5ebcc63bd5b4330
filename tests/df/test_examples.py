"""Each script of examples/ prints what stands in it."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from http import HTTPStatus
from pathlib import Path

import psycopg
import pytest

from tests.df.http_server import http_server
from tests.df.script import Session, transcript
from tests.df.test_cases import difference
from tests.fix_serve import Serve, ServeWith

pytestmark = pytest.mark.one_postgres

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.sql"))
RECORDING = "DURPROXY_RECORD_CASES" in os.environ
CALLS: Counter[str] = Counter()
TOPICS = ("cats", "rockets", "moon")
_PORT = "127.0.0.1:8080"


@pytest.fixture
def http_port() -> Iterator[int]:
    with http_server(answer) as port:
        yield port


def answer(path: str, body: bytes) -> object:
    """A hook that greets, and an embedding service whose vectors count topics.

    It never answers "never", and "sometimes" every third time.
    """
    asked = json.loads(body)
    if path == "/embed":
        return [
            {"id": given["id"], "embedding": str([given["body"].count(t) for t in TOPICS])}
            for given in asked["inputs"]
        ]
    CALLS[asked["name"]] += 1
    is_away = asked["name"] == "never" or (asked["name"] == "sometimes" and CALLS["sometimes"] % 3)
    return HTTPStatus.SERVICE_UNAVAILABLE if is_away else f"hello {asked['name']}"


@pytest.fixture
def server(serve_with: ServeWith) -> Serve:
    """With a clock that stands before a Sunday of long ago: what waits for it is due at once."""
    server = serve_with(http_allow_private=True)
    server.home.psql(
        "CREATE OR REPLACE FUNCTION df._now_1() RETURNS timestamptz LANGUAGE sql AS"
        " $$ SELECT timestamptz '2020-01-04 12:00+00' $$"
    )
    return server


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: str(example.stem))
def test_example_prints_what_stands_in_it(server: Serve, http_port: int, example: Path) -> None:
    script = example.read_text()
    if "needs: the extension vector" in script and not has_vector(server):
        pytest.skip("this server has no pgvector")
    role = server.home.add_role()
    server.home.psql(f"CREATE SCHEMA AUTHORIZATION {role.name}", "postgres")
    server.home.psql(f"SELECT df.grant_usage('{role.name}', include_http => true)")

    def connect(_: str) -> psycopg.Connection:
        return server.connect(role)

    with closing(Session(connect, {})) as session:
        here = f"127.0.0.1:{http_port}"
        printed = transcript(script.replace(_PORT, here), session).replace(here, _PORT)
    if RECORDING:
        example.write_text(printed)
        return
    assert printed == script, "\n" + difference(script, printed)


def has_vector(server: Serve) -> bool:
    home = server.home
    known = home.psql("SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'")
    if known == "1":
        home.psql("CREATE EXTENSION IF NOT EXISTS vector SCHEMA public", "postgres")
    return known == "1"


def test_the_list_of_examples_is_complete() -> None:
    listed = (EXAMPLES[0].parent / "README.md").read_text()
    assert all(f"({example.name})" in listed for example in EXAMPLES)
