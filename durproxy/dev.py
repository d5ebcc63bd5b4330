"""``durproxy dev``: an embedded Postgres with an ordinary role ``app``, and ``serve`` before it."""

from __future__ import annotations

import secrets
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import psycopg
import typer
from psycopg import sql

from durproxy import supervise
from durproxy.config import load_settings
from durproxy.embedded import Cluster, embedded_bindir, free_port
from durproxy.listening import Listening

ROLE = "app"
DATABASE = "app"


def run(options: Mapping[str, object], data: Path | None, postgres_port: int | None) -> int:
    """Until Ctrl-C or SIGTERM; the exit code."""
    signal.signal(signal.SIGTERM, _leave)  # tidily, also before and after serve takes its own turn
    with _folder(data) as folder:
        cluster = Cluster(embedded_bindir(), folder, postgres_port or free_port())
        cluster.create()
        cluster.start()
        try:
            password = _app_password(folder)
            _make_app(cluster, password)
            upstream = _uri(f"127.0.0.1:{cluster.port}", password)
            settings = load_settings({**options, "upstream": upstream})

            def say_ready(listening: Listening) -> None:
                uri = _uri(listening.address, password)
                typer.echo(f"\nexport DURPROXY_UPSTREAM='{uri}'  # for durproxy list, watch ...")
                typer.echo(f"{_psql()} '{uri}'\n")
                typer.echo(
                    f"durproxy ready listen={listening.address} web={listening.web_address}"
                    f" postgres=127.0.0.1:{cluster.port}"
                )

            return supervise.serve(settings, say_ready)
        finally:
            cluster.stop()


def _psql() -> str:
    """The user's own, else the embedded one."""
    return "psql" if shutil.which("psql") else shlex.quote(str(embedded_bindir() / "psql"))


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _uri(address: str, password: str) -> str:
    return f"postgresql://{ROLE}:{password}@{address}/{DATABASE}"


@contextmanager
def _folder(data: Path | None) -> Iterator[Path]:
    """The given folder, or one that is forgotten at the end."""
    if data is not None:
        yield data.absolute()
        return
    folder = Path(tempfile.mkdtemp(prefix="durproxy-dev-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _app_password(folder: Path) -> str:
    """Random, and the same on each start with the same data."""
    path = folder / "app-password"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(8))
    return path.read_text()


def _make_app(cluster: Cluster, password: str) -> None:
    role = sql.Identifier(ROLE)
    with psycopg.connect(cluster.superuser_dsn(), autocommit=True) as admin:
        if admin.execute("SELECT FROM pg_roles WHERE rolname = %s", [ROLE]).fetchone() is None:
            admin.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
        admin.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(role, sql.Literal(password)))
        known = admin.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
        if known is None:
            admin.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(DATABASE), role)
            )
