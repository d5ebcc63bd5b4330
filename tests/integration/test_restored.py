"""A copy of a database calls nobody until somebody says that it is to go on."""

from __future__ import annotations

from contextlib import closing

import httpx
import psycopg
from psycopg import sql

from durproxy.embedded import free_port
from tests.fix_http import Web
from tests.fix_postgres import Database
from tests.fix_serve import Serve, run_durproxy
from tests.store.asking import value
from tests.waiting import wait_until


def test_a_copy_calls_nobody_until_it_is_acknowledged(home: Database, web: Web) -> None:
    with closing(Serve(home, {"http_allow_private": True}, {})) as serve:
        serve.wait_ready()
        with serve.connect() as client:
            call = f"df.sleep('200 ms'::interval) ~> df.http('{web.url}/echo')"
            value(client, f"SELECT df.pause(df.start({call}))")
        assert serve.stop() == 0
    copy = copied(home)
    try:
        port = free_port()
        settings = {"http_allow_private": True, "web": f"127.0.0.1:{port}", "poll_interval": 0.1}
        with closing(Serve(copy, settings, {})) as serve:
            serve.wait_ready()
            serve.wait_log("engine.held_back")
            with serve.connect() as client:
                client.execute("SELECT df.resume(id) FROM df.instances")
                ready = httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=30)
                told = ready.json()["engine"]
                assert ready.status_code == 503
                assert told.startswith("held back until durproxy acknowledge-restore: it is a copy")
                metrics = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text
                assert "durproxy_home_held_back 1.0" in metrics
                assert not web.asked
                done = run_durproxy("acknowledge-restore", upstream=copy.dsn)
                assert done.stdout.startswith("engines go on; they were held back because it is")
                assert (
                    value(client, "SELECT df.await_instance(id) FROM df.instances") == "completed"
                )
                assert len(web.asked) == 1
                wait_until(
                    lambda: httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=30).is_success,
                    "it is ready",
                )
    finally:
        home.postgres.drop_database(copy)


def copied(home: Database) -> Database:
    copy = home.postgres.fresh_database()
    names = {"copy": sql.Identifier(copy.name), "home": sql.Identifier(home.name),
             "owner": sql.Identifier(home.role)}  # fmt: skip
    with psycopg.connect(home.postgres.superuser_dsn, autocommit=True) as admin:
        admin.execute(sql.SQL("DROP DATABASE {copy}").format(**names))
        make = sql.SQL("CREATE DATABASE {copy} OWNER {owner} TEMPLATE {home}")
        admin.execute(make.format(**names))
    copy.owner = home.owner
    copy.add_known_role(home.owner)
    return copy
