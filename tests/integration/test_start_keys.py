"""Start keys with transaction_mode 'new', whose start is in another transaction."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.fix_serve import Visitor
from tests.store.asking import refusal, value

NEW = "SELECT df.start('SELECT 1', key => 'k', transaction_mode => 'new')"
HERE = "SELECT df.start('SELECT 1', key => 'k')"
ISOLATIONS = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]


@pytest.fixture
def client(visitor: Visitor) -> Iterator[psycopg.Connection]:
    with visitor.connect() as connection:
        yield connection


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_the_same_key_gives_the_same_instance(client: psycopg.Connection, isolation: str) -> None:
    client.execute(f"BEGIN ISOLATION LEVEL {isolation}".encode())
    first = value(client, NEW)
    client.execute("ROLLBACK")
    assert value(client, NEW) == first
    assert value(client, HERE) == first
    assert value(client, "SELECT df.await_instance(%s)", [first]) == "completed"


def test_many_at_once_start_one(visitor: Visitor) -> None:
    def start(_: int) -> str:
        with visitor.connect() as connection:
            return str(value(connection, NEW))

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(start, range(16)))) == 1


def test_what_the_snapshot_does_not_show_is_to_be_tried_again(
    visitor: Visitor, client: psycopg.Connection
) -> None:
    client.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
    with visitor.connect() as other:
        first = value(other, NEW)
    assert refusal(client, NEW).sqlstate == "40001"
    client.execute("ROLLBACK")
    assert value(client, NEW) == first


def test_one_that_is_not_committed_yet_cannot_be_the_answer(client: psycopg.Connection) -> None:
    client.execute("BEGIN")
    value(client, HERE)
    refused = refusal(client, NEW)
    assert (refused.sqlstate, refused.message_hint) == (
        "55000",
        'Or start it with transaction_mode "new", too.',
    )


def test_another_durable_function_gives_a_notice(client: psycopg.Connection) -> None:
    notices: list[str] = []
    client.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    first = value(client, NEW)
    assert value(client, NEW.replace("SELECT 1", "SELECT 2")) == first
    assert notices == [
        f'key "k" belongs to instance "{first}", which runs another durable function'
    ]
