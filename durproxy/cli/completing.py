"""What the shell completes: ids of instances, and the signals that one waits for.

It asks the database, briefly. Where that does not answer, nothing is offered: a message in the
middle of somebody's command line would be worse.

Shells evaluate what completion prints (zsh by ``eval``), and labels and names of signals may be
anybody's: so nothing that means something to a shell gets that far.
"""

from __future__ import annotations

import re

import typer

_PATIENCE = 2  # seconds
_OFFERED = 50
_DESCRIBED = 60  # characters of a label
_WORD = re.compile(r"[\w.-]+")
_NO_WORDS = re.compile(r"[^\w.-]+")


def complete_instance(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    return _instances(context, incomplete, live=False)


def complete_live_instance(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    return _instances(context, incomplete, live=True)


def complete_signal(context: typer.Context, incomplete: str) -> list[str]:
    rows = _ask(
        context,
        "SELECT DISTINCT w.detail FROM df.waiting w WHERE w.waits_for = 'signal'"
        " AND w.instance_id = %s AND pg_catalog.starts_with(w.detail, %s) ORDER BY 1",
        context.params.get("instance"),
        incomplete,
    )
    return [row["detail"] for row in rows if _WORD.fullmatch(row["detail"])]


def _instances(context: typer.Context, incomplete: str, *, live: bool) -> list[tuple[str, str]]:
    rows = _ask(
        context,
        "SELECT i.id, i.status, i.label FROM df.instances i"
        " WHERE pg_catalog.starts_with(i.id, %s) AND (i.status IN ('pending', 'running') OR NOT %s)"
        " ORDER BY i.created_at DESC, i.id DESC LIMIT %s",
        incomplete,
        live,
        _OFFERED,
    )
    return [(row["id"], f"{row['status']} {_harmless(row['label'])}".strip()) for row in rows]


def _harmless(label: str | None) -> str:
    """Its words."""
    return _NO_WORDS.sub(" ", label or "")[:_DESCRIBED].strip()


def _ask(context: typer.Context, query: str, *parameters: object) -> list[dict[str, str]]:
    import psycopg

    from durproxy.cli.asking import Home, find_upstream
    from durproxy.errors import DurproxyError

    try:
        upstream = find_upstream(context.params.get("upstream"), context.params.get("config"))
        with Home(upstream, patience=_PATIENCE) as home:
            return home.rows(query, *parameters)
    except (DurproxyError, psycopg.Error):
        return []
