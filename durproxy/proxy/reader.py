"""A process that reads long statements, so that its crash or delay is nobody else's.

The parser is Postgres's own and recurses: hostile nesting can exhaust the stack and kill the
process, and a megabyte takes a third of a second. Both are acceptable over there. A question or an
answer is one line of JSON; statements are bytes, which latin-1 carries as they are.

The process is started from the main thread, and dies with the one that started it.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import asdict
from typing import Any

import trio
from setproctitle import setproctitle

from durproxy.interpreter import interpreter
from durproxy.lifeline import die_with_parent
from durproxy.rewrite.plan import Edit, Hold, Parameter, Plan, Session, plan_statement

_START_LIMIT = 10.0  # seconds for the process to come up
_RECEIVE_SIZE = 64 * 1024
_READY = b"ready\n"


class Lost(Exception):
    """The process has died, or has taken too long and was killed."""


class Reader:
    """One process, started when it is first needed and again after each death."""

    def __init__(self, time_limit: float) -> None:
        self._time_limit = time_limit
        self._process: subprocess.Popen[bytes] | None = None
        self._stream: trio.SocketStream | None = None

    async def plan(self, text: bytes, session: Session) -> Plan:
        """What the process makes of the statement; Lost if that was its end."""
        question = json.dumps([text.decode("latin-1"), asdict(session)]).encode() + b"\n"
        try:
            stream = await self._running()
            with trio.fail_after(self._time_limit):
                await stream.send_all(question)
                return decode_plan(await _read_line(stream))
        except trio.TooSlowError:
            await self.stop()
            raise Lost("too slow") from None
        except (OSError, EOFError, trio.BrokenResourceError):
            await self.stop()
            raise Lost("died") from None
        except trio.Cancelled:  # its answer would be taken for the next one's
            await self.stop()
            raise

    async def stop(self) -> None:
        process, self._process = self._process, None
        stream, self._stream = self._stream, None
        with trio.CancelScope(shield=True):
            if stream is not None:
                await trio.aclose_forcefully(stream)
            if process is not None:
                process.kill()
                await trio.to_thread.run_sync(process.wait)

    async def _running(self) -> trio.SocketStream:
        if self._process is not None and self._process.poll() is not None:
            await self.stop()
        if self._stream is None:
            self._stream = self._start()
            with trio.fail_after(_START_LIMIT):
                if await _read_line(self._stream) != _READY:
                    raise EOFError
        return self._stream

    def _start(self) -> trio.SocketStream:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [*interpreter(), "-m", __name__, str(os.getpid())]
            end = theirs.fileno()
            self._process = subprocess.Popen(command, stdin=end, stdout=end)
        ours.setblocking(False)
        return trio.SocketStream(trio.socket.from_stdlib_socket(ours))


async def _read_line(stream: trio.SocketStream) -> bytes:
    line = bytearray()
    while not line.endswith(b"\n"):
        data = await stream.receive_some(_RECEIVE_SIZE)
        if not data:
            raise EOFError
        line += data
    return bytes(line)


def encode_plan(plan: Plan) -> bytes:
    return json.dumps(asdict(plan), default=lambda data: data.decode("latin-1")).encode()


def decode_plan(line: bytes) -> Plan:
    given: dict[str, Any] = json.loads(line)
    text, hold = given.pop("text"), given.pop("hold")
    return Plan(
        **given
        | {
            "text": None if text is None else text.encode("latin-1"),
            "edits": tuple(Edit(**edit) for edit in given["edits"]),
            "hold": None if hold is None else _decode_hold(hold),
        }
    )


def _decode_hold(given: dict[str, Any]) -> Hold:
    return Hold(
        _decode_value(given["instance_id"]),
        _decode_value(given["timeout"]),
        given["released"].encode("latin-1"),
    )


def _decode_value(given: Any) -> Any:
    return Parameter(**given) if isinstance(given, dict) else given


def main() -> None:
    """Answer until the other side is gone."""
    die_with_parent(int(sys.argv[1]))
    setproctitle("durproxy: reader")
    sys.stdout.buffer.write(_READY)
    sys.stdout.buffer.flush()
    for line in sys.stdin.buffer:
        text, session = json.loads(line)
        plan = plan_statement(text.encode("latin-1"), Session(**session))
        sys.stdout.buffer.write(encode_plan(plan) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
