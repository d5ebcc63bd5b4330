"""Quotas through the whole of durproxy: from the configuration to the error, and after a reload."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psycopg

from tests.fix_http import Web
from tests.fix_postgres import Database
from tests.fix_serve import ServeWith
from tests.store.asking import refusal, value


def test_quotas_hold_and_a_reload_changes_them(
    home: Database, serve_with: ServeWith, tmp_path: Path, web: Web
) -> None:
    config = tmp_path / "own.toml"
    config.write_text(
        '[quotas."*"]\ninstances = 2\nresult_bytes = 1000\nhttp_per_minute = 1\n'
        "[http_hosts]\n[secrets]\n"
    )
    serve = serve_with(config=config, http_allow_private=True)
    serve.wait_log("quotas.in_force", roles=["*"])
    with serve.connect() as owner:
        for _ in range(2):
            value(owner, "SELECT df.start(df.wait_for_signal('go'), 'waits')")
        refused = refusal(owner, "SELECT df.start('SELECT 1')")
        assert refused.sqlstate == "53400"

        config.write_text(
            '[quotas."*"]\nresult_bytes = 1000\nhttp_per_minute = 1\nresult_byte = 1\n'
        )
        os.kill(serve.pid, signal.SIGHUP)
        told = serve.wait_log("serve.not_reloaded")
        assert 'invalid setting "quotas.*.result_byte"' in str(told["error"])
        serve.forget_log()
        config.write_text('http_ca = "/no/such.pem"\n')
        os.kill(serve.pid, signal.SIGHUP)
        assert "option --http-ca" in str(serve.wait_log("serve.not_reloaded")["error"])
        assert refusal(owner, "SELECT df.start('SELECT 1')").sqlstate == "53400"

        config.write_text('[quotas."*"]\nresult_bytes = 1000\nhttp_per_minute = 1\n')
        serve.forget_log()
        os.kill(serve.pid, signal.SIGHUP)
        serve.wait_log("quotas.in_force")
        assert _failure(owner, "$$SELECT repeat('x', 2000)$$") == "53400"
        assert _failure(owner, "df.transaction($$SELECT repeat('x', 2000)$$)") == "53400"
        assert _failure(owner, f"df.http('{web.url}/huge')") == "53400"
        assert _failure(owner, f"df.http('{web.url}/echo')") == "53400"
        assert len(web.asked) == 1


def _failure(client: psycopg.Connection, expression: str) -> str:
    instance = value(client, f"SELECT df.start({expression})")
    assert value(client, "SELECT df.await_instance(%s, 30)", [instance]) == "failed"
    told = str(value(client, "SELECT df.explain(%s)", [instance]))
    return told.partition("SQLSTATE ")[2][:5]
