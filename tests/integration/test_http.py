"""HTTP steps through the whole of durproxy, with a real server on loopback."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from durproxy.schema.install import install
from tests.fix_http import Web
from tests.fix_postgres import Database, Postgres, Role
from tests.fix_serve import Serve, ServeWith
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def at_home(postgres: Postgres) -> Iterator[Serve]:
    """A server whose HTTP steps may call this machine; its tests keep apart by their roles."""
    home = postgres.fresh_database()
    install(home.dsn)
    with closing(Serve(home, {"http_allow_private": True}, {})) as server:
        server.wait_ready()
        yield server
    postgres.drop_database(home)


@pytest.fixture
def user(at_home: Serve) -> Role:
    """An ordinary role that may use HTTP steps."""
    role = at_home.home.add_role()
    at_home.home.psql(f"SELECT df.grant_usage('{role.name}', include_http => true)")
    return role


@pytest.fixture
def client(at_home: Serve, user: Role) -> Any:
    with at_home.connect(user) as connection:
        yield connection


def value(client: psycopg.Connection, query: str, *values: object) -> Any:
    row = client.execute(query.encode(), values or None).fetchone()
    return None if row is None else row[0]


def ended(client: psycopg.Connection, expression: str, *values: object) -> tuple[str, str]:
    """How a workflow ends: its id and its status."""
    instance = value(client, f"SELECT df.start({expression})", *values)
    return instance, value(client, "SELECT df.await_instance(%s, 30)", instance)


def result(client: psycopg.Connection, expression: str, *values: object) -> Any:
    instance, status = ended(client, expression, *values)
    assert status == "completed", value(client, "SELECT df.explain(%s)", instance)
    return json.loads(value(client, "SELECT df.result(%s)", instance))


def failure(client: psycopg.Connection, expression: str, *values: object) -> tuple[str, str]:
    """The node's error, and all that explain says."""
    instance, status = ended(client, expression, *values)
    assert status == "failed"
    error = value(
        client, "SELECT error FROM df.nodes WHERE instance_id = %s AND error <> ''", instance
    )
    return error, value(client, "SELECT df.explain(%s)", instance)


def test_a_result_is_complete(client: psycopg.Connection, web: Web) -> None:
    got = result(client, f"df.http('{web.url}/echo?a=1', 'PUT', 'hello')")
    assert list(got) == ["status", "body", "encoding", "headers", "ok", "duration_ms"]
    assert (got["status"], got["encoding"], got["ok"]) == (200, "text", True)
    assert json.loads(got["body"]) == {"method": "PUT", "path": "/echo?a=1", "body": "hello"}
    assert got["headers"]["content-type"] == "application/json"
    assert isinstance(got["duration_ms"], int)


def test_binary_and_nul_bodies(client: psycopg.Connection, web: Web) -> None:
    got = result(client, f"df.http('{web.url}/as?type=text/plain&hex=610062', 'GET')")
    assert (got["body"], got["encoding"]) == ("YQBi", "base64")
    shown = value(client, "SELECT result->>'body' FROM df.nodes ORDER BY created_at DESC LIMIT 1")
    assert shown == "YQBi"


def test_an_answer_that_the_databases_encoding_lacks(database: Database, web: Web) -> None:
    other = f"{database.name}_latin1"
    with psycopg.connect(database.superuser_dsn, autocommit=True) as superuser:
        superuser.execute(
            f"CREATE DATABASE {other} OWNER {database.role} TEMPLATE template0"
            " ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'".encode()
        )
        home = replace(database, name=other)
        install(home.dsn)
        with closing(Serve(home, {"http_allow_private": True}, {})) as serve:
            serve.wait_ready()
            with serve.connect() as client:
                url = f"{web.url}/as?hex={'é€'.encode().hex()}"
                got = result(client, f"df.http('{url}')")
                _, beside = result(client, f"('SELECT 1' & df.http('{url}'))")
                caught = f"df.catch(df.http('{url}&status=500'), 'SELECT ''$error.message'' m')"
                failed = result(client, caught)
                broke = result(client, f"df.loop(df.http('{url}') |=> 'x' ~> df.break('$x.body'))")
            assert not serve.events("instance.interrupted")
        superuser.execute(f"DROP DATABASE {other} WITH (FORCE)".encode())
    assert (got["body"], got["encoding"]) == ("é€", "text")
    assert beside["body"] == broke == "é€"
    assert failed["rows"] == [{"m": "HTTP status 500"}]


def test_values_go_out_and_come_in(client: psycopg.Connection, web: Web) -> None:
    """Hostile data stays data, and fields of an answer are values of later steps."""
    hostile = "x\" & \\ '; DROP TABLE t; -- é"
    got = result(
        client,
        f"""(%s |=> 'row')
        ~> (df.http('{web.url}/echo/$row.id?n=$row.name',
                    body => '{{"id": $row.id, "name": $row.name, "text": "-$row.name-"}}',
                    headers => '{{"X-Id": "$row.id"}}') |=> 'answer')
        ~> 'SELECT $answer.status::int AS status, $answer.ok AS ok'
        """,
        f"SELECT 7 AS id, $q${hostile}$q$::text AS name",
    )
    (row,) = got["rows"]
    assert (row["status"], row["ok"]) == (200, True)
    sent = json.loads(web.asked[0].body)
    assert sent == {"id": 7, "name": hostile, "text": f"-{hostile}-"}
    assert web.asked[0].headers["x-id"] == "7"
    assert web.asked[0].path.startswith("/echo/7?n=x%22%20%26%20%5C")


def test_variables(client: psycopg.Connection, web: Web) -> None:
    client.execute("SELECT df.setvar('base', %s)", (web.url,))
    got = result(client, "df.http('{base}/echo/{sys_label}?x={unknown}', 'GET')")
    assert json.loads(got["body"])["path"] == "/echo/?x={unknown}"


def test_multipart_with_bytes(client: psycopg.Connection, web: Web) -> None:
    parts = '[{"name": "f", "data_b64": "$data", "filename": "a.bin"}]'
    got = result(
        client,
        "('SELECT ''\\x00ff''::bytea' |=> 'data')"
        f" ~> df.http_multipart('{web.url}/echo', parts => '{parts}')",
    )
    assert got["status"] == 200
    assert b'filename="a.bin"\r\nContent-Type: application/octet-stream\r\n\r\n\x00\xff\r\n' in (
        web.asked[0].body
    )


def test_a_4xx_is_a_result_and_a_5xx_a_failure(client: psycopg.Connection, web: Web) -> None:
    got = result(client, f"df.http('{web.url}/status/404', 'GET')")
    assert (got["status"], got["ok"], got["body"]) == (404, False, "so it is")
    error, explained = failure(client, f"df.http('{web.url}/status/503') |=> 'x'")
    assert error == "HTTP status 503"
    assert "SQLSTATE WF020" in explained
    assert "The answer begins: so it is" in explained
    assert f"HTTP POST {web.url}/status/503 |=> 'x' (at least once) ✗" in explained


@pytest.mark.parametrize(
    ("call", "sqlstate"),
    [
        ("df.http('{url}/hold', timeout_seconds => 1)", "WF021"),
        ("df.http('{url}/cut/reset')", "WF022"),
        ("df.http('http://127.0.0.1:1/')", "WF022"),
        ("df.http('http://169.254.169.254/')", "WF023"),
        ("df.http('{url}/to?url=http://169.254.169.254/')", "WF023"),
        ("df.http('{url}/huge')", "54000"),
    ],
)
def test_failures(client: psycopg.Connection, web: Web, call: str, sqlstate: str) -> None:
    _, explained = failure(client, call.format(url=web.url))
    assert f"SQLSTATE {sqlstate}" in explained


def test_a_missing_value_fails_the_step_before_anything_is_sent(
    client: psycopg.Connection, web: Web
) -> None:
    error, _ = failure(client, f"('SELECT NULL::text' |=> 'x') ~> df.http('{web.url}/$x')")
    assert error == '"$x" is NULL'
    assert web.asked == []


def test_a_name_that_nothing_binds_is_refused_at_start(client: psycopg.Connection) -> None:
    for call in (
        "df.http('https://a.example/$nope')",
        "df.http('https://a.example/', body => '$nope')",
        """df.http('https://a.example/', headers => '{"A": "$nope"}'::jsonb)""",
        """df.http_multipart('https://a.example/', parts => '[{"name":"a","data_b64":"$nope"}]')""",
    ):
        with pytest.raises(psycopg.Error) as caught:
            client.execute(f"SELECT df.start({call})".encode())
        assert caught.value.diag.sqlstate == "42P02"


def test_by_default_this_machine_is_out_of_bounds(serve: Serve, web: Web) -> None:
    with serve.connect() as owner:
        error, explained = failure(owner, f"df.http('{web.url}/echo')")
        assert "bare IP" in error
        assert "WF023" in explained
        error, _ = failure(owner, f"df.http('http://localhost:{web.port}/echo')")
        assert "not public" in error
    assert web.asked == []


def test_disabled(serve_with: ServeWith, web: Web) -> None:
    serve = serve_with(http_enabled=False, http_allow_private=True)
    with serve.connect() as owner:
        error, _ = failure(owner, f"df.http('{web.url}/echo')")
    assert "df.http() is disabled" in error
    assert "outbound HTTP requests are disabled" in error
    assert web.asked == []


def test_a_list_of_hosts(serve_with: ServeWith, web: Web) -> None:
    serve = serve_with(http_allow_private=True, http_allowed_hosts="localhost")
    with serve.connect() as owner:
        assert result(owner, f"df.http('http://localhost:{web.port}/echo')")["ok"]
        error, _ = failure(owner, f"df.http('{web.url}/echo')")
    assert error == 'host "127.0.0.1" is not in the allowed hosts'


def test_the_engine_asks_for_the_right_again(at_home: Serve, web: Web) -> None:
    """A node written by hand passes no constructor, and a right may be taken away."""
    role = at_home.home.add_role()
    at_home.home.psql(f"SELECT df.grant_usage('{role.name}')")
    config = json.dumps({"url": f"{web.url}/echo", "method": "POST", "timeout_seconds": 5})
    with at_home.connect(role) as client:
        error, explained = failure(client, "%s", json.dumps({"node_type": "HTTP", "query": config}))
    assert error == f'role "{role.name}" does not have EXECUTE privilege on df.http()'
    assert "SQLSTATE 42501" in explained
    assert web.asked == []


# --- once, at least once, and no longer than needed ---


def test_a_killed_engine_calls_again_with_the_same_key(
    at_home: Serve, client: psycopg.Connection, web: Web
) -> None:
    instance = value(client, f"SELECT df.start(df.http('{web.url}/hold') ~> 'SELECT 1 AS a')")
    wait_until(lambda: web.asked, "the first request")
    os.kill(at_home.engine_pids()[0], signal.SIGKILL)
    wait_until(lambda: len(web.asked) == 2, "the second request")
    web.released.set()
    assert value(client, "SELECT df.await_instance(%s, 30)", instance) == "completed"
    first, second = (asked.headers["idempotency-key"] for asked in web.asked)
    assert first == second


def test_keys_differ_where_activations_do(client: psycopg.Connection, web: Web) -> None:
    call = f"df.http('{web.url}/echo')"
    result(client, f"({call} & {call}) ~> df.loop({call} ~> df.break())")
    result(client, call)
    keys = [asked.headers["idempotency-key"] for asked in web.asked]
    assert len(set(keys)) == len(keys) == 4


def test_the_users_key_stands(client: psycopg.Connection, web: Web) -> None:
    headers = '{"idempotency-KEY": "mine"}'
    result(client, f"df.http('{web.url}/echo', headers => '{headers}')")
    assert web.asked[0].headers["idempotency-key"] == "mine"


def test_a_lost_race_aborts_the_request(client: psycopg.Connection, web: Web) -> None:
    got = result(client, f"df.race(df.http('{web.url}/hold'), df.sleep(1))")
    assert got == {"slept": True, "seconds": 1}
    assert web.gone.wait(5)


def test_a_call_can_win_a_race(client: psycopg.Connection, web: Web) -> None:
    got = result(
        client, f"df.race(df.http('{web.url}/status/201'), df.sleep(3600)) ~> 'SELECT 2 AS b'"
    )
    assert got["rows"] == [{"b": 2}]


def test_a_cancel_aborts_the_request(client: psycopg.Connection, web: Web) -> None:
    instance = value(client, f"SELECT df.start(df.http('{web.url}/hold'))")
    wait_until(lambda: web.asked, "the request")
    client.execute("SELECT df.cancel(%s)", (instance,))
    assert web.gone.wait(5)
    assert value(client, "SELECT df.status(%s)", instance) == "cancelled"


def test_an_open_cancel_keeps_the_outcome_waiting_and_nobody_else(
    at_home: Serve, user: Role, client: psycopg.Connection, web: Web
) -> None:
    calls = 8  # more than the engine has connections for its own use
    ids = [value(client, f"SELECT df.start(df.http('{web.url}/hold'))") for _ in range(calls)]
    wait_until(lambda: len(web.asked) == calls, "all calls are under way")
    with at_home.connect(user, autocommit=False) as undecided:
        for instance in ids:
            undecided.execute("SELECT df.cancel(%s)", (instance,))
        web.released.set()
        assert result(client, f"df.http('{web.url}/echo')")["ok"]
        undecided.rollback()
    for instance in ids:
        assert value(client, "SELECT df.await_instance(%s, 30)", instance) == "completed"
    assert len(web.asked) == calls + 1


def test_waiting_calls_are_bounded_and_hold_no_connection(serve_with: ServeWith, web: Web) -> None:
    serve = serve_with(http_allow_private=True, http_concurrency=6)
    with serve.connect() as owner:
        ids = [
            value(owner, f"SELECT df.start('SELECT 1' ~> df.http('{web.url}/hold'))")
            for _ in range(6)
        ]
        wait_until(lambda: len(web.asked) == 3, "as many calls as are allowed to one role")
        steps = (
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND state <> 'idle'"
        )
        wait_until(lambda: value(owner, steps, "durproxy step") == 0, "no step has a connection")
        assert len(web.asked) == 3
        web.released.set()
        for instance in ids:
            assert value(owner, "SELECT df.await_instance(%s, 30)", instance) == "completed"
    assert len(web.asked) == 6


def test_a_server_that_never_answers_delays_no_other_roles_call(
    at_home: Serve, user: Role, client: psycopg.Connection, web: Web
) -> None:
    other = at_home.home.add_role()
    at_home.home.psql(f"SELECT df.grant_usage('{other.name}', include_http => true)")
    branches = f"df.http('{web.url}/hold')"
    for _ in range(4):  # 16 calls at once
        branches = f"({branches}) & ({branches})"
    ids = [value(client, f"SELECT df.start({branches})") for _ in range(3)]
    wait_until(lambda: len(web.asked) == 20, "half of the slots are in use, and no more")
    with at_home.connect(other) as neighbour:
        assert result(neighbour, f"df.http('{web.url}/echo')")["ok"]
    assert len(web.asked) == 21
    web.released.set()
    for instance in ids:
        assert value(client, "SELECT df.await_instance(%s, 30)", instance) == "completed"
    assert len(web.asked) == 49
