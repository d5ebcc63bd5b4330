"""What is measured of our proxy alone: idle clients, and the rewriter."""

from __future__ import annotations

import multiprocessing
import selectors
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from statistics import quantiles
from time import monotonic, thread_time

from bench.book import OURS, Book, Measure
from bench.raw import RawClient
from bench.rivals import Rival, durproxy
from durproxy.proxy.rewriting import Rewriter
from durproxy.proxy.statistics import Counters
from durproxy.rewrite.plan import Plan, Session
from durproxy.wire import backend
from durproxy.wire.framing import encode_message

_BACKLOG = 1024
_TEXTS = 300
_REPEATS = 20
_LEAVES = 10
_SSL_REQUEST_SIZE = 8
_STATEMENTS = {"plain": "SELECT 'a' || 'b'", "rewritten": "SELECT df.sql('a') ~> 'b'"}
_READY = backend.ReadyForQuery(backend.IDLE).encode()
_SETTINGS = (
    (b"client_encoding", b"UTF8"),
    (b"standard_conforming_strings", b"on"),
    (b"server_version", b"18.0"),
)


def idle_clients(book: Book, number: int) -> None:
    """Memory of one proxy process before so many clients, which have asked once and then rest."""
    memory = Measure("one proxy process with idle clients", digits=1)
    with _before_stand_in() as rival, ExitStack() as stack:
        without = rival.megabytes()
        before = rival.cpu_seconds()
        for _ in range(number):
            client = RawClient(rival.port)
            stack.callback(client.close)
            client.ask("SELECT 1")
        with_all = rival.megabytes()
        spent = rival.cpu_seconds() - before
    book.note(memory, "MB without clients", rival.name, without)
    book.note(memory, f"MB with {number:,}", rival.name, with_all)
    book.note(memory, "kB for each", rival.name, 1000 * (with_all - without) / number)
    book.note(memory, "CPU µs to let one in and to ask", rival.name, 1e6 * spent / number)


@contextmanager
def _before_stand_in() -> Iterator[Rival]:
    """One proxy process before a stand-in for a server, which answers whatever is asked.

    Thousands of backends would take more memory than a bench may; and how long a server takes for a
    statement would tell in what the proxy's waiting costs.
    """
    listener = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
    stand_in = multiprocessing.get_context("fork").Process(target=_answer, args=[listener])
    stand_in.start()
    try:
        with durproxy(listener.getsockname()[1], 1) as rival:
            yield rival
    finally:
        stand_in.kill()
        stand_in.join()
        listener.close()


def _answer(listener: socket.socket) -> None:
    """Let everybody in; after that answer everything with nothing."""
    hello = b"".join((
        backend.encode_authentication(backend.AUTHENTICATION_OK),
        *(
            encode_message(backend.ParameterStatus.kind, name + b"\0" + value + b"\0")
            for name, value in _SETTINGS
        ),
        encode_message(backend.BackendKeyData.kind, bytes(8)),
        _READY,
    ))  # fmt: skip
    sessions = selectors.DefaultSelector()
    listener.setblocking(False)
    sessions.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in sessions.select():
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            if sock is listener:
                session, _ = listener.accept()
                sessions.register(session, selectors.EVENT_READ, hello)
            elif data := _receive(sock):
                if len(data) == _SSL_REQUEST_SIZE:
                    sock.sendall(b"N")
                    continue
                sock.sendall(key.data)
                sessions.modify(sock, selectors.EVENT_READ, _READY)
            else:
                sessions.unregister(sock)
                sock.close()


def _receive(sock: socket.socket) -> bytes:
    try:
        return sock.recv(10_000)
    except ConnectionResetError:
        return b""


def rewriting(book: Book) -> None:
    """What the rewriter takes for a statement with a ten-node expression, new and known."""
    cost = Measure("the rewriter, df.start of ten nodes: CPU µs", digits=1)
    session = Session(client_encoding="UTF8", standard_conforming_strings=True)
    rewriter = Rewriter(Counters())
    texts = [_expression(number) for number in range(_TEXTS)]

    def plan(text: bytes) -> Plan:
        return rewriter.plan(text, session)

    plan(_expression(_TEXTS))  # whatever is made once
    first = [_microseconds(plan, text) for text in texts]
    known = texts[-1]
    cached = [_microseconds(plan, known) for _ in range(_TEXTS * _REPEATS)]
    for name, taken in (("the first time", first), ("known", cached)):
        cuts = quantiles(taken, n=100)
        book.note(cost, f"{name}: median", OURS, cuts[49])
        book.note(cost, f"{name}: p99", OURS, cuts[98])


def rewritten_statements(book: Book, rounds: int, seconds: int) -> None:
    """What a known statement costs that is rewritten and tracked, beside one that passes."""
    cost = Measure("one client, known statements: the proxy's CPU µs for each", digits=1)
    for _ in range(rounds):
        for name, text in _STATEMENTS.items():
            with _before_stand_in() as rival, closing(RawClient(rival.port)) as client:
                client.ask(text)
                before, until, count = rival.cpu_seconds(), monotonic() + seconds, 0
                while monotonic() < until:
                    client.ask(text)
                    count += 1
                spent = rival.cpu_seconds() - before
            book.note(cost, name, rival.name, 1e6 * spent / count)


def _expression(number: int) -> bytes:
    steps = (f"'INSERT INTO t VALUES ({number}, {leaf})'" for leaf in range(_LEAVES))
    return f"SELECT df.start({' ~> '.join(steps)}, 'order {number}')".encode()


def _microseconds(function: Callable[[bytes], object], text: bytes) -> float:
    """Of CPU time."""
    began = thread_time()
    function(text)
    return (thread_time() - began) * 1e6
