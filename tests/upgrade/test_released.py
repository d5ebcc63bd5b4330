"""What a released version left in flight ends as it should under the version that stands here."""

from __future__ import annotations

import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from durproxy.schema.install import install, migrations
from tests.fix_postgres import Database, Role
from tests.fix_serve import Serve
from tests.store.asking import rows, value
from tests.upgrade.release import Release, releases
from tests.waiting import wait_until

RELEASES = releases()
ALIVE = "SELECT count(*) FROM df._worker_epoch e WHERE last_seen_at > now() - interval '1 minute'"
PATIENCE = 90  # seconds: the fixture may be so new that its timers are not over


@pytest.fixture(params=RELEASES, ids=lambda release: release.version)
def release(request: pytest.FixtureRequest) -> Release:
    found: Release = request.param
    return found


def test_every_release_is_kept_whole() -> None:
    assert RELEASES
    assert all(release.wheel.exists() and release.flights for release in RELEASES)


def test_a_released_migration_is_never_edited(release: Release) -> None:
    known = {migration.name: migration.sha256 for migration in migrations()}
    assert known | release.migrations == known


def test_work_in_flight_ends_as_it_should(release: Release, database: Database) -> None:
    user = restored(release, database)
    install(database.dsn)
    with closing(Serve(database, {}, {})) as serve:
        serve.wait_ready()
        with serve.connect(user) as client:
            for flight in release.flights:
                go_on(client, flight)
            for flight in release.flights:
                assert outcome(client, flight) == expected(flight)
            day = "to_char(next_at AT TIME ZONE tz, 'MM-DD HH24')"
            schedules = f"SELECT name, status, {day} FROM df.schedules"
            assert rows(client, schedules) == [("yearly", "running", "01-01 00")]
            held = "SELECT count(*) FROM df.history(id) WHERE status = 'failed'"
            tried = f"SELECT ({held}) FROM df.instances WHERE label = 'retrying'"
            assert value(client, tried) == 1


def test_old_and_new_workers_side_by_side(
    release: Release, database: Database, tmp_path: Path
) -> None:
    user = restored(release, database)
    with old_serve(release, database, tmp_path) as old:
        old.wait_ready()
        install(database.dsn)
        with closing(Serve(database, {}, {})) as new:
            new.wait_ready()
            with old.connect(user) as at_old, new.connect(user) as at_new:
                assert value(at_new, ALIVE) == 2
                for flight in release.flights:
                    go_on(at_old, flight)
                for n in range(40):
                    start_more(at_new if n % 2 else at_old, n)
                old.kill_engine()
                for flight in release.flights:
                    assert outcome(at_new, flight) == expected(flight)
            assert old.stop() == 0
            with new.connect(user) as client:
                assert wait_until(lambda: counts_of_more(client), "all have ended") == [(40, 3)]


def restored(release: Release, database: Database) -> Role:
    """The state that the release left, but what failed then would succeed now."""
    user = release.restore(database)
    with database.connect() as owner:
        owner.execute("UPDATE app.switch SET n = 5")
    return user


def old_serve(release: Release, database: Database, folder: Path) -> closing[Serve]:
    """The released version itself, beside the libraries of today."""
    with zipfile.ZipFile(release.wheel) as wheel:
        wheel.extractall(folder)
    return closing(Serve(database, {}, {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}))


def go_on(client: psycopg.Connection, flight: dict[str, Any]) -> None:
    """What its user does next."""
    label = flight["label"]
    instance = value(client, "SELECT id FROM df.instances WHERE label = %s", [label])
    for statement in flight["after"]:
        value(client, statement.replace("{id}", instance).replace("{label}", label))


def expected(flight: dict[str, Any]) -> tuple[Any, ...]:
    return flight["label"], flight["status"], flight["result"], sorted(flight["effects"])


def outcome(client: psycopg.Connection, flight: dict[str, Any]) -> tuple[Any, ...]:
    """How the newest instance of that label has ended."""
    label = flight["label"]
    newest = (
        "SELECT id FROM df.instances WHERE label = %s ORDER BY created_at DESC, id DESC LIMIT 1"
    )
    instance = value(client, newest, [label])
    status = value(client, f"SELECT df.await_instance('{instance}', {PATIENCE})")
    effects = rows(client, "SELECT what FROM app.effects WHERE label = %s ORDER BY 1", [label])
    result = value(client, f"SELECT df.result('{instance}')")
    return label, status, result, sorted(what for (what,) in effects)


def start_more(client: psycopg.Connection, number: int) -> None:
    step = "$$INSERT INTO app.effects VALUES ('more {sys_instance_id}', 'x')$$"
    value(client, f"SELECT df.start({step} ~> df.sleep(1) ~> ({step} & {step}), 'more')")


def counts_of_more(client: psycopg.Connection) -> list[Any]:
    live = "SELECT count(*) FROM df.instances WHERE label = 'more' AND status <> 'completed'"
    if value(client, live):
        return []
    return rows(
        client,
        "SELECT count(*), each FROM (SELECT count(*) AS each FROM app.effects"
        " WHERE label LIKE 'more %' GROUP BY label) e GROUP BY each",
    )
