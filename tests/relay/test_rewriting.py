"""Statements on their way: rewritten, mapped back, read elsewhere, or left alone."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import pq

from durproxy.wire.framing import encode_message
from durproxy.wire.frontend import NO_PARAMETER_TYPES, SYNC, Execute, Parse, Query
from tests.fix_postgres import Database
from tests.relay.conftest import Proxy, StartProxy
from tests.relay.peers import log_in

LONG = " || '" + "x" * 20_000 + "'"  # read by a reader process


@pytest.fixture
def proxy(start_proxy: StartProxy, home: Database) -> Proxy:
    return start_proxy(home.dsn)


def one(connection: psycopg.Connection, text: str) -> object:
    row = connection.execute(text.encode()).fetchone()
    return row[0] if row else None


@pytest.mark.parametrize("text", ["'a' ~> 'b'", "df.seq('a', 'b')"])
def test_operators_need_no_search_path(proxy: Proxy, home: Database, text: str) -> None:
    with proxy.connect(home) as connection:
        built = one(connection, f"SELECT df.explain({text})")
        assert "THEN" in str(built) or "a" in str(built)


@pytest.mark.parametrize("protocol", ["simple", "extended", "prepared", "pipeline"])
def test_error_positions_are_those_of_the_users_text(
    proxy: Proxy, home: Database, protocol: str
) -> None:
    text = "SELECT df.explain('a' ~> 'b' ~> 'c'), nosuch"
    place = str(text.index("nosuch") + 1).encode()
    with proxy.connect(home) as connection:
        pgconn = connection.pgconn
        if protocol == "pipeline":
            pgconn.enter_pipeline_mode()
            pgconn.send_query_params(b"SELECT 1", [])
            pgconn.send_query_params(text.encode(), [])
            pgconn.pipeline_sync()
        elif protocol == "simple":
            pgconn.send_query(text.encode())
        elif protocol == "extended":
            pgconn.send_query_params(text.encode(), [])
        else:
            pgconn.send_prepare(b"s", text.encode())
        while (result := pgconn.get_result()) is None or result.status != pq.ExecStatus.FATAL_ERROR:
            continue
        assert result.error_field(pq.DiagnosticField.STATEMENT_POSITION) == place
        pgconn.finish()


def test_a_block_is_quoted_as_it_was_written(proxy: Proxy, home: Database) -> None:
    call = "df.explain('a' ~> 'b' & nosuch)"
    with proxy.connect(home) as connection, pytest.raises(psycopg.errors.UndefinedColumn) as caught:
        connection.execute(f"DO $$ BEGIN PERFORM {call}; END $$".encode())
    told = caught.value.diag
    assert told.internal_query == f"SELECT {call}"
    assert told.internal_position == str(told.internal_query.index("nosuch") + 1)
    assert "OPERATOR" not in (told.context or "")


def test_an_error_of_another_statement_keeps_its_position(proxy: Proxy, home: Database) -> None:
    with proxy.connect(home) as connection:
        assert one(connection, "SELECT df.explain('a' ~> 'b')")
        with pytest.raises(psycopg.errors.UndefinedColumn) as caught:
            connection.execute("SELECT 1, 2, 3, nosuch")
        assert caught.value.diag.statement_position == "17"


def test_a_long_statement_is_read_elsewhere(proxy: Proxy, home: Database) -> None:
    with proxy.connect(home) as connection:
        for _ in range(2):
            assert one(connection, f"SELECT df.explain('a' ~> 'b'), 'x'{LONG}")


def test_a_statement_that_kills_the_parser_hurts_nobody(proxy: Proxy, home: Database) -> None:
    deep = "SELECT df.version()" + "+1" * 24_000
    with proxy.connect(home) as other, proxy.connect(home) as connection:
        assert other.execute("SELECT 1").fetchone() == (1,)
        with pytest.raises(psycopg.Error):
            connection.execute(deep.encode())
        assert connection.execute("SELECT 1").fetchone() == (1,)
        assert other.execute("SELECT 1").fetchone() == (1,)
        assert one(connection, f"SELECT df.explain('a' ~> 'b'), 'x'{LONG}")


def test_copy_data_is_not_read(proxy: Proxy, home: Database) -> None:
    with proxy.connect(home) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t (line text)")
        with cursor.copy("COPY t FROM STDIN") as copy:
            copy.write("SELECT df.start('a' ~> 'b')\n")
        cursor.execute("SELECT line FROM t")
        assert cursor.fetchone() == ("SELECT df.start('a' ~> 'b')",)


def test_a_group_that_failed_and_never_ends_costs_no_memory(
    start_proxy: StartProxy, home: Database
) -> None:
    role = home.add_role(login="by_trust")
    with home.connect() as owner:
        owner.execute("SELECT df.grant_usage(%s)", [role.name])
    proxy = start_proxy(home.dsn)
    with log_in(proxy.dial(), role.name, home.name) as peer:
        peer.send(Query(b"SELECT df.explain('a' ~> 'b')").encode())
        peer.until_ready()
        before = proxy.memory()
        peer.send(Parse(b"", b"no statement", NO_PARAMETER_TYPES).encode())
        for _ in range(60):
            peer.send(Execute(b"", 0).encode() * 10_000)
        peer.send(encode_message(SYNC, b""))
        peer.until_ready()
        assert proxy.memory() - before < 8 * 1024 * 1024


def test_the_longest_statement_that_is_read_at_all_is_read_in_time(
    proxy: Proxy, home: Database
) -> None:
    steps = " ~> ".join(["'SELECT 1'"] * 2_400)
    with proxy.connect(home) as connection:
        assert one(connection, f"SELECT length(df.start({steps}))") == 8


def test_a_setting_that_is_still_on_its_way_decides_how_a_text_reads(
    start_proxy: StartProxy, home: Database
) -> None:
    role = home.add_role(login="by_trust")
    with home.connect() as owner:
        owner.execute("SELECT df.grant_usage(%s)", [role.name])
    proxy = start_proxy(home.dsn)
    # where a backslash escapes, this has one literal and a comment, otherwise two and an operator
    text = rb"SELECT df.version() IS NOT NULL, 'a\' ~> '--'"
    plain = Query(b"SELECT df.explain('a' ~> 'b')").encode()
    with log_in(proxy.dial(), role.name, home.name) as peer:
        off = Query(b"SET standard_conforming_strings = off").encode()
        peer.send(off + Query(text).encode() + plain)
        peer.until_ready()
        [row] = [body for kind, body in peer.until_ready() if kind == "D"]
        assert row.endswith(b"a' ~> ")
        assert "D" in {kind for kind, _ in peer.until_ready()}
        on = Query(b"SET standard_conforming_strings = on").encode()
        text = rb"SELECT df.explain('SELECT ''\''' ~> 'b')"
        peer.send(on + Query(text).encode() + plain)
        peer.until_ready()
        for _ in range(2):
            assert "D" in {kind for kind, _ in peer.until_ready()}
