"""Who is served next when many want the same few hands: each client in turn.

A client waits behind its own questions only, never behind another's: the clients that wait stand
in a circle, and one question of each is taken before the second of any. Of a client at most one
is in work at a time, so with two hands one client cannot keep both busy.

States of a client: absent; waiting (in the circle); in work (a question of its own was taken);
both. Events: ``add``, ``take``, ``done``.

Invariants: the circle has exactly the clients that wait and are not in work; how many wait, in
total and of one client, is bounded, and ``add`` says no beyond that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

C = TypeVar("C", bound=Hashable)
Q = TypeVar("Q")


class Turns(Generic[C, Q]):
    """The questions that wait, by client."""

    def __init__(self, most_of_one: int, most: int) -> None:
        self._most_of_one = most_of_one
        self._most = most
        self._waiting: dict[C, deque[Q]] = {}
        self._circle: deque[C] = deque()
        self._in_work: set[C] = set()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, client: C, question: Q) -> bool:
        """Let the question wait; False when there are too many already."""
        queue = self._waiting.get(client)
        if self._count >= self._most or (queue and len(queue) >= self._most_of_one):
            return False
        if queue is None:
            queue = self._waiting[client] = deque()
            if client not in self._in_work:
                self._circle.append(client)
        queue.append(question)
        self._count += 1
        return True

    def take(self) -> tuple[C, Q] | None:
        """The question whose turn it is; ``done`` has to follow."""
        if not self._circle:
            return None
        client = self._circle.popleft()
        queue = self._waiting[client]
        question = queue.popleft()
        if not queue:
            del self._waiting[client]
        self._in_work.add(client)
        self._count -= 1
        return client, question

    def done(self, client: C) -> None:
        """The client's question that was taken has its answer."""
        self._in_work.remove(client)
        if client in self._waiting:
            self._circle.append(client)
