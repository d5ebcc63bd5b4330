"""A process that reads long statements, so that its crash or delay is nobody else's.

The parser is Postgres's own and recurses: hostile nesting can exhaust the stack and kill the
process, and a megabyte takes a third of a second. Both are acceptable over there. A question or an
answer is one line of JSON; statements are bytes, which latin-1 carries as they are.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from typing import Any

import trio

from durproxy.log import get_logger
from durproxy.proxy.statistics import Counters
from durproxy.rewrite.plan import FORWARD, Edit, Hold, Parameter, Plan, Session, plan_statement

log = get_logger(__name__)

_TIME_LIMIT = 5.0  # seconds for one statement; the longest take one, on a machine that is idle
_START_LIMIT = 10.0  # seconds for the process to come up
_RECEIVE_SIZE = 64 * 1024
_READY = b"ready\n"


class Helper:
    """The helper process, started when it is first needed and again after each death."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._turn = trio.Lock()  # one question at a time
        self._process: trio.Process | None = None

    async def plan(self, text: bytes, session: Session) -> Plan:
        """What to do with the statement: forward it as it is when there is no answer in time."""
        self._counters.statements_planned += 1
        question = json.dumps([text.decode("latin-1"), asdict(session)]).encode() + b"\n"
        async with self._turn:
            try:
                process = await self._running()
                with trio.fail_after(_TIME_LIMIT):
                    return decode_plan(await _ask(process, question))
            except (OSError, trio.TooSlowError, trio.BrokenResourceError, EOFError) as error:
                reason = "too slow" if isinstance(error, trio.TooSlowError) else "died"
                self._counters.rewriter_failures += 1
                log.warning("rewriter.helper_lost", reason=reason, length=len(text))
                await self.stop()
                return FORWARD

    async def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()

    async def _running(self) -> trio.Process:
        if self._process is None or self._process.returncode is not None:
            with trio.fail_after(_START_LIMIT):
                self._process = await trio.lowlevel.open_process(
                    [sys.executable, "-m", __name__],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )
                assert await _read_line(self._process) == _READY
        return self._process


async def _ask(process: trio.Process, question: bytes) -> bytes:
    assert process.stdin is not None
    await process.stdin.send_all(question)
    return await _read_line(process)


async def _read_line(process: trio.Process) -> bytes:
    assert process.stdout is not None
    line = bytearray()
    while not line.endswith(b"\n"):
        data = await process.stdout.receive_some(_RECEIVE_SIZE)
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
    sys.stdout.buffer.write(_READY)
    sys.stdout.buffer.flush()
    for line in sys.stdin.buffer:
        text, session = json.loads(line)
        plan = plan_statement(text.encode("latin-1"), Session(**session))
        sys.stdout.buffer.write(encode_plan(plan) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
