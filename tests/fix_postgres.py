"""Fixtures ``postgres``, ``database`` and ``home``: real clusters, a fresh database per test.

Every test that uses one runs on the embedded Postgres 18 and on each bin folder named in
DURPROXY_TEST_PG_BINDIRS. Clusters start when first needed and stop with the session.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from durproxy.embedded import SUPERUSER, Cluster, embedded_bindir, free_port
from durproxy.schema.install import install

# Members of these roles log in over TCP in another way than the default, SCRAM.
LOGIN_KINDS = ("by_trust", "by_md5", "by_password")

_HBA = """\
local all         postgres          trust
local all         all               scram-sha-256
local replication postgres          trust
host  all         +by_trust    127.0.0.1/32 trust
host  all         +by_md5      127.0.0.1/32 md5
host  all         +by_password 127.0.0.1/32 password
host  all         all          127.0.0.1/32 scram-sha-256
host  replication all          127.0.0.1/32 scram-sha-256
"""

_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_connections": "300",
    "wal_level": "logical",
    "max_prepared_transactions": "20",
    "max_wal_senders": "10",
    "shared_buffers": "64MB",
    "log_min_messages": "warning",
}

_SCRAM_HAS_A_SETTING = 160000

_INVARIANTS = (Path(__file__).parent / "invariants.sql").read_bytes()

_names = count(1)


@dataclass(frozen=True)
class Role:
    """A role that can log in."""

    name: str
    password: str


@dataclass
class Database:
    """A database of one test; its owner is an ordinary role with a password."""

    postgres: Postgres
    name: str
    owner: Role
    passfile: Path  # has every role's password, for a server that logs in as them
    roles: dict[str, Role] = field(default_factory=dict)

    @property
    def role(self) -> str:
        return self.owner.name

    @property
    def dsn(self) -> str:
        return self.dsn_for(self.owner)

    @property
    def superuser_dsn(self) -> str:
        return self.postgres.cluster.superuser_dsn(self.name)

    def dsn_for(self, role: Role | str | None = None) -> str:
        """Over TCP, with the password; by the unix socket for the superuser."""
        found = self._role(role)
        if found.name == SUPERUSER:
            return self.superuser_dsn
        return (
            f"host=127.0.0.1 port={self.postgres.port} dbname={self.name}"
            f" user={found.name} password={found.password}"
        )

    def connect(
        self, role: Role | str | None = None, *, autocommit: bool = True
    ) -> psycopg.Connection:
        return psycopg.connect(self.dsn_for(role), autocommit=autocommit)

    def psql(self, text: str, role: Role | str | None = None) -> str:
        """What psql prints for the script: tuples only, unaligned."""
        return self.postgres.psql(self.dsn_for(role), text)

    def add_role(self, *options: str, login: str = "scram") -> Role:
        """A fresh role; options as in CREATE ROLE, e.g. "SUPERUSER"; login in LOGIN_KINDS."""
        role = self.postgres.create_role(*options, login=login)
        self.add_known_role(role)
        return role

    def add_known_role(self, role: Role) -> None:
        self.roles[role.name] = role
        with self.passfile.open("a") as passfile:
            passfile.write(f"*:*:*:{role.name}:{role.password}\n")

    def _role(self, role: Role | str | None) -> Role:
        if role is None:
            return self.owner
        if isinstance(role, Role):
            return role
        return Role(SUPERUSER, "") if role == SUPERUSER else self.roles[role]


class Postgres:
    """A running cluster."""

    def __init__(self, bindir: Path) -> None:
        self.bindir = bindir
        self._root = Path(tempfile.mkdtemp(prefix="durproxy-test-"))
        self.cluster = Cluster(bindir, self._root, free_port(), _SETTINGS, _HBA)
        self.cluster.create()
        self.cluster.start()
        self._admin = psycopg.connect(self.superuser_dsn, autocommit=True)
        self.version = self._admin.info.server_version
        if self.version >= _SCRAM_HAS_A_SETTING:  # hashing passwords is most of what a login takes
            self._admin.execute("SET scram_iterations = 64")
        for name in LOGIN_KINDS:
            self._admin.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(name)))

    @property
    def host(self) -> str:
        return str(self.cluster.socket_dir)

    @property
    def port(self) -> int:
        return self.cluster.port

    @property
    def superuser_dsn(self) -> str:
        return self.cluster.superuser_dsn()

    def create_role(self, *options: str, login: str = "scram") -> Role:
        role = Role(f"role_{next(_names)}", f"secret {next(_names)}".replace(" ", "-"))
        name = sql.Identifier(role.name)
        encryption = "md5" if login == "by_md5" else "scram-sha-256"
        self._admin.execute(f"SET password_encryption = '{encryption}'")
        self._admin.execute(
            sql.SQL("CREATE ROLE {} LOGIN {} PASSWORD {}").format(
                name, sql.SQL(" ".join(options)), sql.Literal(role.password)
            )
        )
        if login in LOGIN_KINDS:
            self._admin.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(login), name))
        return role

    def fresh_database(self) -> Database:
        owner = self.create_role()
        name = f"db_{next(_names)}"
        self._admin.execute(
            sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0").format(
                sql.Identifier(name), sql.Identifier(owner.name)
            )
        )
        passfile = self._root / f"{name}.pgpass"
        passfile.touch(mode=0o600)
        database = Database(self, name, owner, passfile)
        database.add_known_role(owner)
        return database

    def drop_database(self, database: Database) -> None:
        name = sql.Identifier(database.name)
        self._admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        database.passfile.unlink()

    def psql(self, dsn: str, text: str, *options: str) -> str:
        done = self.run_psql(dsn, text, "-At", *options)
        assert done.returncode == 0, done.stderr
        return done.stdout.rstrip("\n")

    def run_psql(self, dsn: str, text: str, *options: str) -> subprocess.CompletedProcess[str]:
        """psql -X with the script on stdin, stopping at the first error."""
        command = [str(self.bindir / "psql"), "-X", "-v", "ON_ERROR_STOP=1", *options, dsn]
        return subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=60, check=False
        )

    def stop(self) -> None:
        self._admin.close()
        self.cluster.stop()
        shutil.rmtree(self._root, ignore_errors=True)


class Clusters:
    """The clusters of the session, started when first asked for."""

    def __init__(self) -> None:
        self._running: dict[Path, Postgres] = {}

    def get(self, bindir: Path) -> Postgres:
        if bindir not in self._running:
            self._running[bindir] = Postgres(bindir)
        return self._running[bindir]

    def stop(self) -> None:
        for postgres in self._running.values():
            postgres.stop()


def _bindirs() -> dict[str, Path]:
    """By test id: pg18 for the embedded one, then what the environment names."""
    named = [embedded_bindir()]
    named += [
        Path(text) for text in os.environ.get("DURPROXY_TEST_PG_BINDIRS", "").split(":") if text
    ]
    bindirs: dict[str, Path] = {}
    for bindir in named:
        asked = subprocess.run(
            [bindir / "postgres", "--version"], capture_output=True, text=True, check=True
        )
        found = re.search(r"\b(\d+)", asked.stdout)
        assert found is not None, asked.stdout
        bindirs.setdefault(f"pg{found[1]}", bindir)
    return bindirs


BINDIRS = _bindirs()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what has been tried on the first Postgres and would do the same on another."""
    again = {item for item in items if _is_same_again(item)}
    config.hook.pytest_deselected(items=list(again))
    items[:] = [item for item in items if item not in again]


def _is_same_again(item: pytest.Item) -> bool:
    if item.get_closest_marker("one_postgres") is None or not hasattr(item, "callspec"):
        return False
    first = next(iter(BINDIRS))
    return bool(item.callspec.params.get("postgres", first) != first)


@pytest.fixture(scope="session")
def clusters() -> Iterator[Clusters]:
    clusters = Clusters()
    try:
        yield clusters
    finally:
        clusters.stop()


@pytest.fixture(scope="session", params=list(BINDIRS))
def postgres(request: pytest.FixtureRequest, clusters: Clusters) -> Postgres:
    return clusters.get(BINDIRS[request.param])


@pytest.fixture
def database(postgres: Postgres) -> Iterator[Database]:
    """A fresh database of a fresh ordinary role."""
    database = postgres.fresh_database()
    yield database
    postgres.drop_database(database)


@pytest.fixture
def home(database: Database) -> Database:
    """A fresh database with the home schema, installed by its ordinary owner."""
    install_checked(database.dsn)
    return database


@pytest.fixture
def elsewhere(postgres: Postgres, home: Database) -> Iterator[Database]:
    """Another database of the home's owner, without a home schema."""
    database = postgres.fresh_database()
    with database.connect(SUPERUSER) as superuser:
        superuser.execute(f"ALTER DATABASE {database.name} OWNER TO {home.owner.name}".encode())
    database.owner = home.owner
    database.add_known_role(home.owner)
    yield database
    postgres.drop_database(database)


def install_checked(dsn: str) -> None:
    """The home schema, with its invariants as constraints."""
    install(dsn)
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute(_INVARIANTS)
