"""What the admin console does: here, and by the bus to the other proxies of this ``serve``.

PAUSE stops reading from each client at its next transaction boundary, and lets no new one in. What
was received before is carried out: a statement that waits for an instance may go on meanwhile.
"""

from __future__ import annotations

import json
import socket
from dataclasses import asdict
from datetime import UTC, datetime
from time import monotonic, time
from typing import TYPE_CHECKING, Any

import trio

from durproxy.bus import Command, LocalBus
from durproxy.errors import DurproxyError
from durproxy.proxy.cancelling import cancel_here
from durproxy.proxy.link import Link
from durproxy.proxy.tls import TlsSocket

if TYPE_CHECKING:
    from durproxy.proxy.shell import Shell

_DONE, _LATE = b"done", b"late"


class NotCarriedOut(DurproxyError):
    """A command that could not be carried out in full."""

    sqlstate = "55000"


class Control:
    """One proxy's part, and the way to the others'."""

    def __init__(self, shell: Shell, bus: LocalBus, name: str) -> None:
        self._shell = shell
        self._bus = bus
        self._name = name

    async def pause_all(self) -> None:
        answers: list[bytes] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pause_others, answers)
            answers.append(await self.pause())
        if _LATE in answers:
            raise NotCarriedOut(
                "some transactions have not ended in time",
                detail="All other sessions are paused, and these will be at their end.",
                hint="SHOW SERVERS tells which; KILL ends one, RESUME undoes the pause.",
            )

    async def resume_all(self) -> None:
        self.resume()
        await self._bus.ask_proxies("resume")

    async def reload_all(self) -> list[str]:
        """The names of the settings that wait for the next start."""
        answer = json.loads(await self._bus.ask_supervisor("reload") or "{}")
        if "at_next_start" not in answer:
            raise NotCarriedOut(answer.get("problem") or "the supervisor does not answer")
        return list(answer["at_next_start"])

    async def kill_anywhere(self, pid: int) -> bool:
        if await self.kill(pid):
            return True
        return _DONE in (await self._bus.ask_proxies("kill", str(pid))).values()

    async def ask_sessions(self) -> dict[str, dict[str, Any]]:
        """What all proxies and the supervisor report, by name; our own first."""
        reports = {self._name: self.sessions()}
        reports |= await self._bus.ask_proxies("sessions")
        reports |= {"supervisor": await self._bus.ask_supervisor("report")}
        return {name: json.loads(report) for name, report in reports.items() if report}

    async def answer(self, asked: Command) -> None:
        """Another proxy's console."""
        match asked.verb:
            case "pause":
                await asked.reply.say(await self.pause())
            case "resume":
                self.resume()
            case "kill" if await self.kill(int(asked.operand)):
                await asked.reply.say(_DONE)
            case "sessions":
                await asked.reply.say(self.sessions())
        asked.reply.close()

    async def pause(self) -> bytes:
        """Here; says when no transaction is under way, or that some are after all that time."""
        pump = self._shell.pump
        if not pump.paused:  # otherwise there is who waits for the events that are there
            pump.paused, pump.quiet = True, trio.Event()
            self._shell.open = trio.Event()
        for link in list(pump.links):
            link.attentive = True
            link.maybe_pause()
        with trio.move_on_after(self._shell.settings.drain_timeout):
            pump.look_for_quiet()
            await pump.quiet.wait()
            return _DONE
        return _LATE

    def resume(self) -> None:
        self._shell.pump.paused = False
        self._shell.pump.quiet.set()
        self._shell.open.set()
        for link in list(self._shell.pump.links):
            link.end_pause()

    async def kill(self, pid: int) -> bool:
        link = next((one for one in self._shell.pump.links if one.pid == pid), None)
        if link is None:
            return False
        if link.busy:
            await cancel_here(self._shell, link)
            link.close("killed")
        else:
            link.say_goodbye("An administrator has ended it.")
        return True

    def sessions(self) -> bytes:
        found = [_session(link) for link in self._shell.pump.links]
        return json.dumps({"counters": asdict(self._shell.counters), "sessions": found}).encode()

    async def _pause_others(self, answers: list[bytes]) -> None:
        answers += (await self._bus.ask_proxies("pause")).values()


def _session(link: Link) -> dict[str, object]:
    address, _, port = link.peer.rpartition(":")
    return {
        "user": link.user,
        "database": link.database,
        "state": link.state.value,
        "transaction": {0: None, ord("I"): "idle", ord("T"): "open"}.get(link.status, "failed"),
        "addr": address or link.peer,
        "port": port if address else None,
        "connect_time": _moment(time() - (monotonic() - link.opened_at)),
        "application_name": link.application_name,
        "tls": _tls(link.client),
        "server_addr": link.place.host,
        "server_port": link.place.port,
        "server_tls": _tls(link.server),
        "pid": link.pid,
    }


def _tls(sock: socket.socket) -> str | None:
    return sock.version() if isinstance(sock, TlsSocket) else None


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ", timespec="seconds")
