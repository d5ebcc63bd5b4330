"""Short forms for asking a session one thing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
import pytest


def value(session: psycopg.Connection, query: str, params: Sequence[Any] = ()) -> Any:
    """The first column of the first row."""
    row = session.execute(query.encode(), params or None).fetchone()
    assert row is not None
    return row[0]


def rows(session: psycopg.Connection, query: str, params: Sequence[Any] = ()) -> list[Any]:
    return session.execute(query.encode(), params or None).fetchall()


def refusal(
    session: psycopg.Connection, query: str, params: Sequence[Any] = ()
) -> psycopg.errors.Diagnostic:
    """The error that the query must raise."""
    with pytest.raises(psycopg.Error) as raised:
        session.execute(query.encode(), params or None)
    assert raised.value.diag.sqlstate is not None, raised.value
    return raised.value.diag
