"""Statements that other processes read: fair, cancellable, and nothing is left of them."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from functools import partial
from pathlib import Path

import psycopg
import trio

from durproxy.proxy.readers import Readers
from durproxy.proxy.statistics import Counters
from durproxy.rewrite.plan import FORWARD, Session
from tests.fix_postgres import Database
from tests.relay.conftest import Proxy, StartProxy
from tests.waiting import wait_until, wait_until_async

LONG = " || '" + "x" * 20_000 + "'"
SESSION = Session("UTF8", standard_conforming_strings=True)
WORKFLOW = b"SELECT df.explain('a' ~> 'b') -- " + b"x" * 6_000


def children(pid: int, title: str) -> list[int]:
    listed = subprocess.run(
        ["ps", "--ppid", str(pid), "-o", "pid=,args="], capture_output=True, text=True, check=False
    )
    return [int(line.split()[0]) for line in listed.stdout.splitlines() if title in line]


def readers_of(pid: int) -> list[int]:
    return children(pid, "reader")


def has_counted(proxy: Proxy, name: str, number: int) -> bool:
    return proxy.counted(name) == number


async def signal_reader(number: signal.Signals) -> None:
    """As soon as there is one, and it is alive."""

    async def alive() -> list[int]:
        return readers_of(os.getpid())

    [reader] = await wait_until_async(alive, "a reader runs")
    os.kill(reader, number)


async def test_a_client_that_stalls_a_reader_makes_nobody_else_wait() -> None:
    readers = Readers(Counters())
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(readers.plan, "hostile", WORKFLOW, SESSION)
        await signal_reader(signal.SIGSTOP)
        for _ in range(3):
            assert (await readers.plan("other", WORKFLOW, SESSION)).text is not None
        assert readers.waiting == 4  # of the hostile one
        nursery.cancel_scope.cancel()
    await readers.stop()


async def test_a_client_that_keeps_killing_readers_is_not_read_for_a_while() -> None:
    counters = Counters()
    readers = Readers(counters)
    for _ in range(3):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(readers.plan, "hostile", WORKFLOW, SESSION)
            await signal_reader(signal.SIGKILL)
    assert await readers.plan("hostile", WORKFLOW, SESSION) == FORWARD
    assert (await readers.plan("other", WORKFLOW, SESSION)).text is not None
    await readers.stop()
    assert (counters.rewriter_failures, counters.statements_unread) == (3, 1)


async def test_a_queue_that_is_too_long_is_not_waited_in() -> None:
    counters = Counters()
    readers = Readers(counters)
    plans = []

    async def ask() -> None:
        plans.append(await readers.plan("one", WORKFLOW, SESSION))

    async with trio.open_nursery() as nursery:
        for _ in range(70):
            nursery.start_soon(ask)
    await readers.stop()
    assert counters.statements_unread == plans.count(FORWARD) > 0
    assert len(plans) == 70


def test_a_reader_that_was_killed_is_replaced(start_proxy: StartProxy, home: Database) -> None:
    proxy = start_proxy(home.dsn)
    text = f"SELECT df.explain('a' ~> 'b'), 'x'{LONG}".encode()
    with proxy.connect(home) as connection:
        connection.execute(text)
        [reader] = readers_of(proxy.pid)
        os.kill(reader, signal.SIGKILL)
        wait_until(lambda: ") Z " in Path(f"/proc/{reader}/stat").read_text(), "it has died")
        connection.execute(text)
        assert readers_of(proxy.pid) != [reader]


def test_a_cancel_while_the_statement_is_read_is_kept(
    start_proxy: StartProxy, home: Database
) -> None:
    proxy = start_proxy(home.dsn)
    warm = f"SELECT df.explain('a' ~> 'b'), 'x'{LONG}".encode()
    text = f"SELECT df.explain('a' ~> 'b'), pg_sleep(30), 'x'{LONG}".encode()
    with proxy.connect(home) as connection:
        connection.execute(warm)
        [reader] = readers_of(proxy.pid)
        for _ in range(3):
            os.kill(reader, signal.SIGSTOP)  # it reads for as long as we want
            connection.pgconn.send_query(text)
            stopping = threading.Thread(target=connection.cancel_safe)
            wait_until(partial(has_counted, proxy, "statements_read_now", 1), "it is being read")
            before = proxy.counted("cancels")
            stopping.start()
            wait_until(partial(has_counted, proxy, "cancels", before + 1), "the cancel came")
            os.kill(reader, signal.SIGCONT)
            began = time.monotonic()
            result = connection.pgconn.get_result()
            assert result is not None
            assert result.error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"57014"
            assert connection.pgconn.get_result() is None
            assert time.monotonic() - began < 10
            stopping.join()
            assert connection.execute("SELECT 1").fetchone() == (1,)
