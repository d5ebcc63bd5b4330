"""``durproxy cancel``, ``signal``, ``pause``, ``resume`` and ``rerun``: one act on one instance."""

from __future__ import annotations

import psycopg
import typer

from durproxy.cli.asking import Home
from durproxy.cli.tables import one_line, print_json
from durproxy.cli.telling import status_of
from durproxy.cli.unknown import not_found
from durproxy.errors import DurproxyError


def cancel(home: Home, instance: str, reason: str, as_json: bool) -> None:
    told = _act(home, "SELECT df.cancel(%s, %s)", instance, reason)
    status = status_of(home, instance)
    # what ended before df.cancel leaves as it is, and says nothing; what still owes cleanups and
    # undos runs until they are done
    if status not in ("cancelled", "running"):
        raise DurproxyError(f'instance "{instance}" is {status}', detail="It was not cancelled.")
    _tell(told, as_json, instance, status)


def signal(home: Home, instance: str, name: str, data: str, as_json: bool) -> None:
    told = _act(home, "SELECT df.signal(%s, %s, %s)", instance, name, data)
    _tell(told, as_json, instance, status_of(home, instance))


def pause(home: Home, instance: str, reason: str, as_json: bool) -> None:
    told = _act(home, "SELECT df.pause(%s, %s)", instance, reason)
    _tell(told, as_json, instance, status_of(home, instance))


def resume(home: Home, instance: str, as_json: bool) -> None:
    told = _act(home, "SELECT df.resume(%s)", instance)
    _tell(told, as_json, instance, status_of(home, instance))


def rerun(home: Home, instance: str, from_node: str | None, as_json: bool) -> None:
    """Tells the id of the new instance alone, for scripts to go on with."""
    again = _act(home, "SELECT df.rerun(%s, %s)", instance, from_node)
    if as_json:
        print_json({"instance_id": again, "rerun_of": instance, "status": status_of(home, again)})
    else:
        typer.echo(again)


def _act(home: Home, query: str, instance: str, *parameters: object) -> str:
    try:
        told: str = home.value(query, instance, *parameters)
    except psycopg.errors.UndefinedObject:
        raise not_found(home, instance) from None
    return told


def _tell(told: str, as_json: bool, instance: str, status: str) -> None:
    if as_json:
        print_json({"instance_id": instance, "status": status})
    else:
        typer.echo(one_line(told))
