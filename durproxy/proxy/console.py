"""The admin console: what a client of the database ``durproxy`` may ask, and what it is told.

It is open to the roles of the setting ``admin_users``, each of which has logged in to the server as
itself first. Every command is about the whole ``serve``, whichever of its proxies has the client:
the others are asked, or told, over the bus.

States of a session: idle; carrying out a Query; skipping to a Sync (the extended protocol is not
spoken). The client's end, or its Terminate, ends it.
"""

from __future__ import annotations

import json
import shlex
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from durproxy import __version__
from durproxy.config import Settings
from durproxy.conninfo import without_secrets
from durproxy.errors import DurproxyError
from durproxy.log import get_logger
from durproxy.proxy import sockets
from durproxy.reload import START_NEEDED, is_followed
from durproxy.wire import backend, sqlstate
from durproxy.wire.framing import HEADER_SIZE, MessageReader
from durproxy.wire.frontend import FUNCTION_CALL, SYNC, TERMINATE, Query
from durproxy.wire.results import encode_complete, encode_empty, encode_rows

if TYPE_CHECKING:
    from durproxy.proxy.shell import Shell

log = get_logger(__name__)

DATABASE = "durproxy"
_LONGEST_MESSAGE = 10_000
_ECHOED = 60  # characters of a statement that is no command
_GOODBYE = backend.fatal(
    sqlstate.ADMIN_SHUTDOWN,
    "terminating connection due to administrator command",
    detail="The proxy is shutting down.",
    hint="Connect again.",
).encode()
_READY = backend.ReadyForQuery(backend.IDLE).encode()

_SHOWN = ("clients", "config", "engines", "help", "processes", "servers", "stats", "version")
_HELP = (
    ("SHOW CLIENTS", "the clients of all proxies"),
    ("SHOW SERVERS", "their connections to the upstream"),
    ("SHOW STATS", "what each proxy has counted"),
    ("SHOW ENGINES", "the processes that run workflows"),
    ("SHOW PROCESSES", "all processes of this serve"),
    ("SHOW CONFIG", "the settings that hold now"),
    ("SHOW VERSION", "the version of durproxy"),
    ("PAUSE", "read nothing more from clients; returns when all transactions have ended"),
    ("RESUME", "read on"),
    ("RELOAD", "read settings and certificates again"),
    ("KILL pid", "end the session of this backend"),
)
_CONFIG = ("key", "value", "default", "changeable")
_CHILDREN = ("kind", "index", "pid", "ready", "starts")
# from the column of the console to what a proxy says of a session
_CLIENTS = {name: name for name in ("user", "database", "state", "addr", "port")} | {
    name: name for name in ("connect_time", "application_name", "tls", "proxy", "pid")
}
_SERVERS = {name: name for name in ("user", "database", "transaction")} | {
    "addr": "server_addr", "port": "server_port", "connect_time": "connect_time",
    "tls": "server_tls", "proxy": "proxy", "pid": "pid",
}  # fmt: skip


class CommandFailed(DurproxyError):
    """Not a command, or one that could not be carried out."""

    sqlstate = sqlstate.SYNTAX_ERROR


class Console:
    """One client's session."""

    def __init__(self, shell: Shell, client: socket.socket, user: str) -> None:
        self._shell = shell
        self._client = client
        self._user = user
        self._reader = MessageReader(_LONGEST_MESSAGE)

    async def run(self) -> None:
        """Until the client leaves, or we have to."""
        try:
            await self._run()
        except trio.Cancelled:
            with suppress(OSError):
                self._client.send(_GOODBYE)
            raise

    async def _run(self) -> None:
        skipping = False
        while (read := await self._receive()) is not None:
            kind, message = read
            if kind == TERMINATE[0]:
                return
            if kind == SYNC:
                skipping = False
                await sockets.send_all(self._client, _READY)
            elif kind == Query.kind:
                text = Query.parse(message[HEADER_SIZE:]).query.decode("utf-8", "replace")
                await sockets.send_all(self._client, await self._answer(text) + _READY)
            elif not skipping:
                skipping = kind != FUNCTION_CALL
                error = _error(CommandFailed("the console speaks the simple protocol only"))
                ready = b"" if skipping else _READY
                await sockets.send_all(self._client, error + ready)

    async def _receive(self) -> tuple[int, bytes] | None:
        while (read := self._reader.maybe_read()) is None:
            data = await sockets.receive(self._client)
            if not data:
                return None
            self._reader.feed(data)
        return read

    async def _answer(self, text: str) -> bytes:
        try:
            words = shlex.split(text.strip().rstrip(";"))
            if not words:
                return encode_empty()
            log.info("console.command", user=self._user, command=text.strip()[:200])
            return await self._carry_out(words[0].upper(), words[1:])
        except ValueError as error:
            return _error(CommandFailed(f"not a command: {str(error).lower()}"))
        except DurproxyError as error:
            return _error(error)

    async def _carry_out(self, verb: str, operands: Sequence[str]) -> bytes:
        match verb, operands:
            case "SHOW", [what] if what.lower() in _SHOWN:
                columns, rows = await self._show(what.lower())
                return encode_rows(columns, [[_text(v) for v in row] for row in rows], "SHOW")
            case "PAUSE", []:
                await self._shell.control.pause_all()
            case "RESUME", []:
                await self._shell.control.resume_all()
            case "RELOAD", []:
                later = await self._shell.control.reload_all()
                return b"".join(map(_waits, later)) + encode_complete(verb)
            case "KILL", [pid] if pid.isdigit():
                if not await self._shell.control.kill_anywhere(int(pid)):
                    raise CommandFailed(f"there is no session of backend {pid}")
            case "KILL", _:
                raise CommandFailed(
                    "KILL needs the pid of a backend", hint="SHOW CLIENTS lists them."
                )
            case _:
                raise CommandFailed(
                    f'not a command of the console: "{_cut(" ".join((verb, *operands)))}"',
                    hint="SHOW HELP lists them.",
                )
        return encode_complete(verb)

    async def _show(self, what: str) -> tuple[Sequence[str], Sequence[Sequence[object]]]:
        if what == "help":
            return ("command", "does"), _HELP
        if what == "version":
            return ("version",), ((f"durproxy {__version__}",),)
        if what == "config":
            return _CONFIG, _settings(self._shell.settings)
        reports = await self._shell.control.ask_sessions()
        children: list[Mapping[str, Any]] = reports.pop("supervisor", {}).get("children", [])
        if what in ("engines", "processes"):
            return _CHILDREN, [
                [child[name] for name in _CHILDREN]
                for child in children
                if what == "processes" or child["kind"] == "engine"
            ]
        if what == "stats":
            names = list(next(iter(reports.values()))["counters"])
            return ("name", *reports), [
                (name, *(report["counters"].get(name) for report in reports.values()))
                for name in names
            ]
        columns = _CLIENTS if what == "clients" else _SERVERS
        sessions = [
            session | {"proxy": name}
            for name, report in reports.items()
            for session in report["sessions"]
        ]
        return list(columns), [[session[name] for name in columns.values()] for session in sessions]


def _settings(settings: Settings) -> list[tuple[object, ...]]:
    """As they were given, without the secrets that some may hold."""
    found = json.loads(settings.model_dump_json())
    found["upstream"] = without_secrets(settings.upstream)
    found["runtime_dir"] = str(settings.runtime_dir.parent)  # ours is a folder in it
    rows: list[tuple[object, ...]] = []
    for name, field in Settings.model_fields.items():
        default = None if field.is_required() else _plain(field.get_default())
        value = found[name] if field.repr or name == "upstream" or not found[name] else "***"
        rows.append((name, value, default, "yes" if is_followed(name) else "no"))
    return rows


def _plain(default: object) -> object:
    return str(default) if isinstance(default, Path) else default


def _waits(setting: str) -> bytes:
    message = f'setting "{setting}" has changed, and waits for the next start'
    fields = _fields(S="NOTICE", V="NOTICE", C="00000", M=message, H=START_NEEDED)
    return backend.NoticeResponse(fields).encode()


def _cut(statement: str) -> str:
    return statement if len(statement) <= _ECHOED else statement[:_ECHOED] + "..."


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)


def _error(error: DurproxyError) -> bytes:
    fields = {"S": "ERROR", "V": "ERROR", "C": error.sqlstate, "M": error.message}
    fields |= {"D": error.detail or "", "H": error.hint or ""}
    return backend.ErrorResponse(_fields(**fields)).encode()


def _fields(**texts: str) -> tuple[tuple[int, bytes], ...]:
    return tuple((ord(key), text.encode()) for key, text in texts.items() if text)
