"""Running one workflow through a server and looking at what came of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import psycopg

from tests.fix_serve import Visitor


@dataclass(frozen=True)
class Ended:
    """An instance that has ended; ``text`` is its result to the letter."""

    id: str
    status: str
    text: str | None
    error: dict[str, Any]

    @property
    def result(self) -> Any:
        assert self.status == "completed", self.error
        return json.loads(self.text or "null")

    @property
    def rows(self) -> list[dict[str, Any]]:
        return list(self.result["rows"])

    @property
    def value(self) -> Any:
        """The first column of the first row."""
        return next(iter(self.rows[0].values()))

    @property
    def sqlstate(self) -> str:
        assert self.status == "failed", self
        return str(self.error["sqlstate"])


def start(session: psycopg.Connection, *steps: str, label: str | None = None) -> str:
    """A sequence; step k is named s1, s2, …"""
    named = ", ".join(f"df.as(%s::text, 's{k}')" for k in range(1, len(steps) + 1))
    graph = named
    if len(steps) > 1:
        graph = "df.as(%s::text, 's1')"
        for k in range(2, len(steps) + 1):
            graph = f"df.seq({graph}, df.as(%s::text, 's{k}'))"
    row = session.execute(f"SELECT df.start({graph}, %s)".encode(), [*steps, label]).fetchone()
    assert row is not None
    return str(row[0])


def ended(session: psycopg.Connection, instance: str, timeout: int = 20) -> Ended:
    session.execute("SELECT df.await_instance(%s, %s)", [instance, timeout])
    row = session.execute(
        "SELECT status, result::text, error FROM df._own WHERE id OPERATOR(pg_catalog.=) %s",
        [instance],
    ).fetchone()
    assert row is not None
    return Ended(instance, row[0], row[1], row[2] or {})


def run(where: Visitor | psycopg.Connection, *steps: str) -> Ended:
    """The steps one after the other, to the end."""
    if isinstance(where, Visitor):
        with where.connect() as session:
            return run(session, *steps)
    return ended(where, start(where, *steps))
