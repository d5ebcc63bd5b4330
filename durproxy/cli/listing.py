"""``durproxy list`` and ``durproxy waiting``: many instances at a glance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from durproxy.cli import moments
from durproxy.cli.asking import STARTED_BY, Home, Row
from durproxy.cli.tables import STATUS_STYLE, Column, one_line, print_json, print_table
from durproxy.errors import ConfigurationError

_PAGE = 1000  # what df.list_instances gives at most

# A page, with what only the relation tells: whose an instance is, and where its steps run. What
# has failed or was cancelled changed last when it ended.
_LISTED = f"""
SELECT l.instance_id, l.label, {STARTED_BY} AS role, l.status, l.created_at,
    CASE WHEN l.status NOT IN ('pending', 'running') THEN coalesce(l.completed_at, i.updated_at)
    END AS ended_at,
    l.output, i.database, l.next_cursor
FROM df.list_instances(%s, %s, %s, %s) WITH ORDINALITY l
LEFT JOIN df.instances i ON i.id = l.instance_id
ORDER BY l.ordinality
"""

_PAUSED = """
SELECT w.instance_id, w.detail FROM df.waiting w
WHERE w.waits_for = 'resume' AND w.instance_id = ANY (%s)
"""

_WAITING = f"""
SELECT w.instance_id, w.label, {STARTED_BY} AS role, w.node_id, w.waits_for, w.detail,
    w.since, w.due
FROM df.waiting w LEFT JOIN df.instances i ON i.id = w.instance_id
WHERE (%(label)s::text IS NULL OR w.label = %(label)s)
    AND (%(role)s::text IS NULL OR {STARTED_BY} = %(role)s)
    AND (%(since)s::timestamptz IS NULL OR i.created_at >= %(since)s)
ORDER BY w.since, w.instance_id LIMIT %(limit)s
"""

_HERE = """
SELECT pg_catalog.current_database() AS home, current_user::text AS me,
    pg_catalog.clock_timestamp() AS now
"""


@dataclass(frozen=True, slots=True)
class Filters:
    """Which instances; all that is given must hold."""

    status: str | None = None
    label: str | None = None
    role: str | None = None
    since: str | None = None
    limit: int = 100


def list_instances(home: Home, filters: Filters, as_json: bool) -> None:
    [here] = home.rows(_HERE)
    rows = list(_selected(home, filters, _beginning(filters, here["now"])))
    _add_paused(home, rows)
    if as_json:
        print_json(rows)
    else:
        print_table(_list_columns(rows, here))


def list_waiting(home: Home, filters: Filters, as_json: bool) -> None:
    [here] = home.rows(_HERE)
    rows = home.rows(
        _WAITING,
        label=filters.label,
        role=filters.role,
        since=_beginning(filters, here["now"]),
        limit=filters.limit,
    )
    if as_json:
        print_json(rows)
    else:
        print_table(_waiting_columns(rows, here))


def _beginning(filters: Filters, now: datetime) -> datetime | None:
    if filters.since is None:
        return None
    try:
        return moments.parse_since(filters.since, now)
    except ValueError as error:
        raise ConfigurationError(f"invalid value for option --since: {error}") from None


def _selected(home: Home, filters: Filters, since: datetime | None) -> Iterator[Row]:
    """Newest first, page by page until there are enough or they become too old."""
    count = 0
    for row in _all(home, filters):
        if count == filters.limit or (since is not None and row["created_at"] < since):
            return
        if filters.role is None or row["role"] == filters.role:
            count += 1
            yield row


def _all(home: Home, filters: Filters) -> Iterator[Row]:
    cursor: str | None = None
    # one more than wanted is never looked at, but what a filter of ours drops must be made up for
    page = _PAGE if filters.role else min(filters.limit, _PAGE)
    while True:
        rows = home.rows(_LISTED, filters.status, page, filters.label, cursor)
        for row in rows:
            cursor = row.pop("next_cursor")
            yield row
        if not rows or cursor is None:
            return


def _add_paused(home: Home, rows: list[Row]) -> None:
    live = [row["instance_id"] for row in rows if row["ended_at"] is None]
    found = home.rows(_PAUSED, live) if live else []
    reasons = {row["instance_id"]: row["detail"] for row in found}
    for row in rows:
        row["paused"] = reasons.get(row["instance_id"])


def _list_columns(rows: list[Row], here: Row) -> list[Column]:
    created, when = moments.column("created", [row["created_at"] for row in rows])
    columns = [
        Column("id", [row["instance_id"] for row in rows]),
        Column("label", [one_line(row["label"]) for row in rows], rank=1, flexible=True),
        Column("status", [row["status"] for row in rows], styles=_styles(rows)),
        Column(created, when, rank=4),
        Column("took", [_took(row, here["now"]) for row in rows], rank=5),
        Column("output", [_output(row) for row in rows], rank=3, flexible=True),
    ]
    if any(row["role"] != here["me"] for row in rows):
        columns.insert(2, Column("role", [one_line(row["role"]) for row in rows], rank=2))
    if any(row["database"] != here["home"] for row in rows):
        columns.append(Column("database", [one_line(row["database"]) for row in rows], rank=2))
    return columns


def _waiting_columns(rows: list[Row], here: Row) -> list[Column]:
    due, when = moments.column("due", [row["due"] for row in rows])
    columns = [
        Column("id", [row["instance_id"] for row in rows]),
        Column("label", [one_line(row["label"]) for row in rows], rank=2, flexible=True),
        Column("waits for", [row["waits_for"] for row in rows]),
        Column("detail", [one_line(row["detail"]) for row in rows], rank=1, flexible=True),
        Column("for", [_age(row["since"], here["now"]) for row in rows], rank=3),
        Column(due, when, rank=4),
        Column("node", [row["node_id"] or "" for row in rows], rank=5),
    ]
    if any(row["role"] != here["me"] for row in rows):
        columns.insert(2, Column("role", [one_line(row["role"]) for row in rows], rank=2))
    return columns


def _styles(rows: list[Row]) -> list[str]:
    return [STATUS_STYLE.get(row["status"], "") for row in rows]


def _took(row: Row, now: datetime) -> str:
    return _age(row["created_at"], row["ended_at"] or now)


def _age(since: datetime | None, until: datetime) -> str:
    return "" if since is None else moments.show_duration((until - since).total_seconds())


def _output(row: Row) -> str:
    return f"paused: {one_line(row['paused'])}" if row["paused"] else one_line(row["output"])
