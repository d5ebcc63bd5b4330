"""Make the fixture of the version that stands here: ./scripts/freeze-release runs this.

It starts every workflow of in_flight.py under a real engine, brings each into its state, stops the
engine with its steps in flight, and dumps the database as it is.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

from durproxy import __version__
from durproxy.schema.install import install, migrations
from tests.fix_postgres import BINDIRS, Database, Postgres, Role
from tests.fix_serve import Serve
from tests.upgrade.in_flight import FLIGHTS, SCHEDULED, SETUP, Flight
from tests.upgrade.release import RELEASES, Release
from tests.waiting import wait_until

REPOSITORY = Path(__file__).parents[2]
_IN_FLIGHT = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype <> 'relation'"


def make(release: Release) -> None:
    """Make all of it anew."""
    oldest = min(BINDIRS.items(), key=lambda item: int(item[0].removeprefix("pg")))[1]
    postgres = Postgres(oldest)
    try:
        home = postgres.fresh_database()
        install(home.dsn)
        user = add_user(home)
        dump = dump_in_flight(home, user)
    finally:
        postgres.stop()
    facts = {
        "migrations": {m.name: m.sha256 for m in migrations()},
        "flights": [flight.as_json() for flight in FLIGHTS],
    }
    release.keep(dump, home, user, facts)
    build_wheel(release.folder)


def add_user(home: Database) -> Role:
    """A role that may use df and the tables of the workflows."""
    user = home.add_role()
    with home.connect() as owner:
        owner.execute("SELECT df.grant_usage(%s)", [user.name])
        owner.execute(SETUP)
        owner.execute(f"GRANT USAGE ON SCHEMA app TO {user.name}".encode())
        owner.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA app TO {user.name}".encode())
    return user


def dump_in_flight(home: Database, user: Role) -> str:
    settings: dict[str, object] = {"max_user_connections": 4 * len(FLIGHTS)}
    with closing(Serve(home, settings, {})) as serve, home.connect() as keeper:
        serve.wait_ready()
        keeper.execute(
            "INSERT INTO app.gate SELECT unnest(%s::text[])", [[f.label for f in FLIGHTS]]
        )
        with keeper.transaction():
            keeper.execute("SELECT FROM app.gate FOR UPDATE")
            with serve.connect(user) as client:
                client.execute(SCHEDULED)
                instances = [bring(client, flight) for flight in FLIGHTS]
            wait_until(lambda: in_flight(home) == expected_in_flight(), "all steps are in flight")
            [engine] = serve.engine_pids()
            os.kill(engine, signal.SIGSTOP)
            try:
                with home.connect(user) as client:
                    for flight, instance in zip(FLIGHTS, instances, strict=True):
                        assert one(client, filled(flight.placed, flight, instance)), flight.label
                return dump(home)
            finally:
                os.kill(engine, signal.SIGKILL)


def bring(client: psycopg.Connection, flight: Flight) -> str:
    """Start it and bring it into its state; its id."""
    [(instance,)] = client.execute(
        f"SELECT df.start({flight.start}, '{flight.label}')".encode()
    ).fetchall()
    for statement in (*flight.before, flight.placed):
        text = filled(statement, flight, instance)
        wait_until(partial(one, client, text), f"{flight.label}: {text}")
    return str(instance)


def filled(statement: str, flight: Flight, instance: str) -> str:
    return statement.replace("{id}", instance).replace("{label}", flight.label)


def one(client: psycopg.Connection, statement: str) -> Any:
    [(value,)] = client.execute(statement.encode()).fetchall()
    return value


def in_flight(home: Database) -> int:
    with home.connect("postgres") as superuser:
        return int(one(superuser, _IN_FLIGHT))


def expected_in_flight() -> int:
    return sum(flight.in_step for flight in FLIGHTS)


def dump(home: Database) -> str:
    """Everything of df and of the workflows' own tables; owners are given by who restores it."""
    schemas = [f"--schema={name}" for name in ("df", "df_held", "app")]
    command = [str(home.postgres.bindir / "pg_dump"), "--no-owner", *schemas, home.dsn]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def build_wheel(folder: Path) -> None:
    for old in folder.glob("*.whl"):
        old.unlink()
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    subprocess.run([*build, str(REPOSITORY)], capture_output=True, timeout=120, check=True)


def main() -> int:
    release = Release(RELEASES / __version__)
    if release.folder.exists() and "--again" not in sys.argv:
        print(f"{release.folder} is there: a release is frozen once", file=sys.stderr)
        return 1
    make(release)
    print(release.folder.relative_to(REPOSITORY))
    return 0


if __name__ == "__main__":
    sys.exit(main())
