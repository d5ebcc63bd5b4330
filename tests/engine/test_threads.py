"""What hangs in a thread keeps only its own user waiting: names, passwords, files of secrets."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from durproxy import passwords
from durproxy.config_tables import Secret
from durproxy.engine.logging_in import log_in
from durproxy.engine.names import Names
from durproxy.engine.secrets import Secrets, SecretUnavailable
from durproxy.errors import UpstreamUnreachable

MANY = 50  # more than trio's common limit of threads


async def give_up(clock: MockClock, what: Callable[[], Awaitable[object]]) -> None:
    """Ask many times, and leave after a second each time."""
    for _ in range(MANY):
        with trio.move_on_after(1):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(what)
                await trio.testing.wait_all_tasks_blocked()
                clock.jump(2)
    assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0


async def test_names_that_nobody_answers_for(
    monkeypatch: pytest.MonkeyPatch, mock_clock: MockClock
) -> None:
    answered = threading.Event()

    def getaddrinfo(host: bytes, port: int, **_: object) -> list[object]:
        if host == b"silent.example":
            answered.wait()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    names = Names()
    try:
        await give_up(mock_clock, lambda: names.addresses("lab", "silent.example", 443))
        assert await names.addresses("shop", "a.example", 443) == ["192.0.2.1"]
    finally:
        answered.set()


async def test_a_password_that_does_not_come(
    monkeypatch: pytest.MonkeyPatch, mock_clock: MockClock
) -> None:
    came = threading.Event()

    def with_password(conninfo: str) -> str:
        if conninfo == "user=lab":
            came.wait()
        raise UpstreamUnreachable("asked for it")

    monkeypatch.setattr(passwords, "is_asked_for", lambda conninfo: True)
    monkeypatch.setattr(passwords, "with_password", with_password)
    try:
        await give_up(mock_clock, lambda: log_in("user=lab"))
        with pytest.raises(UpstreamUnreachable, match="asked for it"):
            await log_in("user=shop")
    finally:
        came.set()


async def test_a_file_that_cannot_be_read_to_its_end(tmp_path: Path, mock_clock: MockClock) -> None:
    pipe, file = tmp_path / "pipe", tmp_path / "file"
    os.mkfifo(pipe)
    file.write_text("value-of-it")
    found = Secrets({
        name: Secret(file=path, roles=("*",), hosts=("*",))
        for name, path in (("hangs", pipe), ("there", file))
    })  # fmt: skip

    async def ask() -> None:
        with suppress(SecretUnavailable):  # now and then an attempt is over
            await found.values_for("lab", ["hangs"])

    try:
        await give_up(mock_clock, ask)
        there = (await found.values_for("shop", ["there"]))["there"]
        assert there.value == "value-of-it"
    finally:
        os.close(os.open(pipe, os.O_WRONLY))  # whoever opened it for reading goes on
