"""The proxy process: accepts clients, runs the pump and its neighbours, drains at SIGTERM."""

from __future__ import annotations

import errno
import json
import signal
import socket
from time import monotonic

import trio

from durproxy import passwords
from durproxy.bus import Cancel, Command, Ended, Follow, LocalBus, Report
from durproxy.child import announce_ready
from durproxy.config import Settings, received_settings
from durproxy.errors import DurproxyError
from durproxy.listening import BACKLOG
from durproxy.log import get_logger
from durproxy.proxy import sockets
from durproxy.proxy.cancelling import cancel_for_sibling
from durproxy.proxy.greeting import greet
from durproxy.proxy.loaded import load
from durproxy.proxy.shell import Shell
from durproxy.proxy.statistics import report

log = get_logger(__name__)

_BACKLOG_PAUSE = 0.1  # seconds, when the process has no descriptors left
_LOGIN_GRACE = 5.0  # seconds for logins that are under way when the drain begins
_FIRST_STATEMENT_GRACE = 1.0  # seconds for the first statement of a new session
_OUT_OF_RESOURCES = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


def run(settings: Settings, index: int, listeners: list[socket.socket]) -> int:
    """Serve until SIGTERM; the exit code."""
    trio.run(_serve, settings, index, listeners)
    return 0


async def _serve(settings: Settings, index: int, listeners: list[socket.socket]) -> None:
    with (
        LocalBus(settings.runtime_dir, f"proxy-{index}") as bus,
        trio.open_signal_receiver(signal.SIGTERM) as signals,
    ):
        async with trio.open_nursery() as nursery:
            shell = Shell(settings, nursery, bus, f"proxy-{index}")
            shell.pump.watch(bus.incoming)
            nursery.start_soon(shell.pump.run)
            nursery.start_soon(shell.pump.sweep)
            nursery.start_soon(shell.holds.run)
            nursery.start_soon(_listen_to_bus, shell, bus)
            async with trio.open_nursery() as accepting:
                for listener in listeners:
                    listener.setblocking(False)
                    listener.listen(BACKLOG)  # a new one's queue begins with who empties it
                    shell.pump.watch(listener)
                    accepting.start_soon(_accept, shell, listener)
                announce_ready()
                async for _ in signals:
                    break
                accepting.cancel_scope.cancel()
            await _drain(shell)
            nursery.cancel_scope.cancel()
        shell.acting.close()
        await shell.readers.stop()


async def _accept(shell: Shell, listener: socket.socket) -> None:
    with listener:
        while True:
            try:
                client = await sockets.accept(listener)
            except OSError as error:
                if error.errno not in _OUT_OF_RESOURCES:
                    raise
                log.warning("listener.exhausted", error=str(error))
                await trio.sleep(_BACKLOG_PAUSE)
                continue
            shell.login_begins()
            shell.nursery.start_soon(greet, shell, client)
            await trio.lowlevel.checkpoint()


async def _listen_to_bus(shell: Shell, bus: LocalBus) -> None:
    async for message in bus.receive():
        if isinstance(message, Ended):
            for instance in message.instance_ids:
                shell.holds.ended(instance)
        elif isinstance(message, Cancel):
            shell.nursery.start_soon(cancel_for_sibling, shell, message)
        elif isinstance(message, Follow):
            _follow(shell, message)
        elif isinstance(message, Command):
            shell.nursery.start_soon(shell.control.answer, message)
        elif isinstance(message, Report):
            shell.nursery.start_soon(_report, shell, message)


def _follow(shell: Shell, message: Follow) -> None:
    try:
        settings = received_settings(json.loads(message.settings))
        loaded = load(settings)
    except DurproxyError as error:  # a file that has changed since the supervisor looked
        log.error("proxy.not_reloaded", error=error.message)
    else:
        passwords.configure(settings)
        shell.follow(loaded)
        log.info("proxy.reloaded")


async def _report(shell: Shell, asked: Report) -> None:
    families = [*report(shell.counters), shell.pump.sampling.report()]
    await asked.reply.say(json.dumps(families).encode())
    asked.reply.close()


async def _drain(shell: Shell) -> None:
    """Close each session at its next transaction boundary, all of them in the end."""
    pump = shell.pump
    log.info("proxy.draining", connections=len(pump.links), held=shell.counters.holds_now)
    shell.control.resume()
    pump.draining = True
    for link in shell.holds.dismiss_all():  # the client may ask again, and wait elsewhere
        link.say_goodbye()
    old = monotonic() - _FIRST_STATEMENT_GRACE
    for link in list(pump.links):
        link.attentive = True
        if link.opened_at < old:
            link.maybe_drain()
    with trio.move_on_after(shell.settings.drain_timeout):
        await _hear_newcomers(shell)
        await pump.wait_empty()
    log.info("proxy.drained", cut=len(pump.links))
    for link in list(pump.links):
        link.close("drain timeout")


async def _hear_newcomers(shell: Shell) -> None:
    """Who has just been let in, or is about to be, may carry out what it came for."""
    most = shell.settings.drain_timeout / 3
    with trio.move_on_after(min(_LOGIN_GRACE, most)):
        await shell.wait_no_logins()
    with trio.move_on_after(min(_FIRST_STATEMENT_GRACE, most)):
        await shell.pump.wait_empty()
    for link in list(shell.pump.links):
        link.maybe_drain()
