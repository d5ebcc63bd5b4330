"""A fresh server for one run of a suite, as a superuser reaches it: directly or through us."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from durproxy.embedded import SUPERUSER
from durproxy.schema.install import install
from tests.fix_postgres import Database, Postgres
from tests.fix_serve import Serve

PASSWORD = "pw"


@dataclass(frozen=True)
class Access:
    """Where a client connects, and as whom."""

    host: str
    port: int
    user: str = SUPERUSER
    password: str = PASSWORD
    database: str = "postgres"

    @property
    def environment(self) -> dict[str, str]:
        """As libpq and the drivers that follow it read it."""
        return {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGUSER": self.user,
            "PGPASSWORD": self.password,
            "PGDATABASE": self.database,
        }


@contextmanager
def staged(bindir: Path, *, through: bool) -> Iterator[Access]:
    """A new cluster whose database ``postgres`` has the home schema, so that both ways see it."""
    postgres = Postgres(bindir)
    try:
        home = _home(postgres)
        if not through:
            yield Access("127.0.0.1", postgres.port)
            return
        with closing(Serve(home, {}, {})) as serve:
            serve.wait_ready()
            yield Access("127.0.0.1", serve.port)
            assert not serve.exited(), serve.transcript()
    finally:
        postgres.stop()


def _home(postgres: Postgres) -> Database:
    owner = postgres.create_role()
    with psycopg.connect(postgres.superuser_dsn, autocommit=True) as admin:
        admin.execute(f"ALTER ROLE {SUPERUSER} PASSWORD '{PASSWORD}'".encode())
        admin.execute(f"ALTER DATABASE postgres OWNER TO {owner.name}".encode())
        available = "SELECT 1 FROM pg_available_extensions WHERE name = 'hstore'"
        if admin.execute(available).fetchone():  # a type that drivers' tests know
            admin.execute("CREATE EXTENSION hstore")
    passfile = postgres.cluster.root / "postgres.pgpass"
    passfile.touch(mode=0o600)
    home = Database(postgres, "postgres", owner, passfile)
    home.add_known_role(owner)
    install(home.dsn)
    return home
