"""The processes that read long statements, and whose statement they read next.

Fair by client, which is the user it logged in as: one that asks much, or asks what takes long,
makes only itself wait (``turns``). A statement that costs a reader its life, or its time limit, is
forwarded unread; a client that does so again and again is not read for a while. So is what would
wait in too long a queue. A statement that is not read is never wrong: the server has the real
functions.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import trio

from durproxy.log import get_logger
from durproxy.proxy.reader import Lost, Reader
from durproxy.proxy.statistics import Counters
from durproxy.proxy.turns import Turns
from durproxy.rewrite.plan import FORWARD, Plan, Session

log = get_logger(__name__)

_READERS = 2  # processes, the second only while the first is busy
_TIME_LIMIT = 5.0  # seconds for one statement; the longest take one, on a machine that is idle
_MOST_LOSSES = 3  # readers that a client may cost us …
_REST = 60.0  # … within so many seconds, before it is not read for as long
_MOST_OF_ONE = 64  # statements of one client that wait
_MOST = 512


@dataclass(eq=False, slots=True)
class _Question:
    """A statement whose turn has not come."""

    turn: trio.Event = field(default_factory=trio.Event)
    reader: Reader | None = None


class Readers:
    """Reads what is too long to be read in the pump."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._turns: Turns[str, _Question] = Turns(_MOST_OF_ONE, _MOST)
        self._idle = [Reader(_TIME_LIMIT) for _ in range(_READERS)]
        self._all = tuple(self._idle)
        self._losses: dict[str, list[float]] = {}  # times at which the client cost us a reader

    async def plan(self, client: str, text: bytes, session: Session) -> Plan:
        """What to do with the statement: forward it as it is when there is no answer in time."""
        self._counters.statements_planned += 1
        question = _Question()
        if self._rests(client) or not self._turns.add(client, question):
            self._counters.statements_unread += 1
            return FORWARD
        self._counters.statements_read_now += 1
        self._hand_out()
        await question.turn.wait()
        assert question.reader is not None
        try:
            return await question.reader.plan(text, session)
        except Lost as error:
            self._counters.rewriter_failures += 1
            log.warning("rewriter.reader_lost", reason=str(error), user=client, length=len(text))
            self._losses.setdefault(client, []).append(trio.current_time())
            return FORWARD
        finally:
            self._counters.statements_read_now -= 1
            self._turns.done(client)
            self._idle.append(question.reader)
            self._hand_out()

    @property
    def waiting(self) -> int:
        """Statements whose turn has not come."""
        return len(self._turns)

    async def stop(self) -> None:
        for reader in self._all:
            await reader.stop()

    def _hand_out(self) -> None:
        while self._idle and (taken := self._turns.take()) is not None:
            _, question = taken
            question.reader = self._idle.pop()
            question.turn.set()

    def _rests(self, client: str) -> bool:
        since = trio.current_time() - _REST
        recent = {name: [at for at in times if at > since] for name, times in self._losses.items()}
        self._losses = {name: times for name, times in recent.items() if times}
        return len(self._losses.get(client, ())) >= _MOST_LOSSES
