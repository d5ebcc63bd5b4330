"""Workflows that use secrets, fail with them and are told them back: nothing keeps a trace."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from urllib.parse import quote

import httpx
import psycopg

from durproxy.embedded import free_port
from tests.fix_http import Web
from tests.fix_postgres import Database
from tests.fix_serve import ServeWith
from tests.store.asking import rows, value

FROM_ENVIRONMENT = 'env-5f3c9a/"q+x'
FROM_FILE = "file-e81d77b2c4"
FROM_COMMAND = "command-90ab41ffd2"


def test_secrets_are_in_no_place_but_the_call(
    home: Database, serve_with: ServeWith, tmp_path: Path, web: Web
) -> None:
    port = free_port()
    (tmp_path / "key").write_text(f"{FROM_FILE}\n")
    secret = {"roles": [home.owner.name], "hosts": ["127.0.0.1"], "plain_http": True}
    secret |= {"places": ["header", "query", "body", "path"]}
    serve = serve_with(
        {"SHOP_KEY": FROM_ENVIRONMENT},
        http_allow_private=True,
        log_level="debug",
        web=f"127.0.0.1:{port}",
        secrets=json.dumps({
            "one": secret | {"env": "SHOP_KEY"},
            "two": secret | {"file": str(tmp_path / "key")},
            "three": secret | {"command": ["echo", FROM_COMMAND]},
            "others": secret | {"env": "SHOP_KEY", "roles": ["somebody"]},
            "elsewhere": secret | {"env": "SHOP_KEY", "hosts": ["api.example"]},
        }),
    )  # fmt: skip
    url = web.url
    elsewhere = f"{url}/to?status=307&url=http://localhost:{web.port}/echo"
    called = f"""df.http('{url}/mirror/%s?a={{secret:one}}', 'POST', '{{"b": "{{secret:two}}"}}',
        '{{"Authorization": "Bearer {{secret:three}}", "X-Key": "{{secret:one}}"}}')"""
    with serve.connect() as owner:
        for expression in (
            f"({called % 200} |=> 'r') ~> 'SELECT $r.body AS told, $r.headers::text AS h'",
            f"df.retry({called % 503}, 2, '10 milliseconds')",
            f"df.catch({called % 500}, 'SELECT $error.message, $error.detail')",
            f"df.http('{url}/to?url=http://169.254.169.254/{{secret:one}}', body => '{{secret:two}}')",  # noqa: E501
            f"df.http('{elsewhere}', body => '{{secret:one}}')",
            "df.http('https://{secret:two}.example/')",
            f"df.http('{url}/cut/reset?k={{secret:three}}')",
            f"df.http('{url}/echo', headers => '{{\"A\": \"{{secret:others}}\"}}')",
            f"df.http('{url}/echo', headers => '{{\"A\": \"{{secret:elsewhere}}\"}}')",
            f"df.http('{url}/echo?{{secret:nope}}')",
            f"df.http('{url}/echo', body => '{{secret:one}} {{secret:two}}')",
        ):
            _run(owner, expression)
        back = _run(owner, f"df.http('{url}/kept')")
        fetched = json.loads(value(owner, "SELECT df.result(%s)", [back]))
        assert fetched["body"] == "{secret:one} {secret:two}"
        told = str(rows(owner, "SELECT df.explain(id), df.result(id) FROM df.instances"))
        told += str(rows(owner, "SELECT h.* FROM df.instances i, df.history(i.id) h"))
        told += str(rows(owner, "SELECT n.* FROM df.instances i, df.instance_nodes(i.id) n"))
        told += str(rows(owner, "SELECT * FROM df.nodes"))
    metrics = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    logs = json.dumps(serve.log) + serve.transcript()
    dump = _dump(home)

    assert all(name in dump for name in ("{secret:one}", "{secret:two}", "{secret:three}"))
    assert "may not be sent to host" in dump
    assert "does not exist, or role" in dump
    arrived = "".join(f"{asked.path}{asked.headers}{asked.body!r}" for asked in web.asked)
    for name, value_ in (("1", FROM_ENVIRONMENT), ("2", FROM_FILE), ("3", FROM_COMMAND)):
        assert quote(value_, safe="") in arrived or value_ in arrived, name
        for place in (dump, logs, metrics, told):
            for trace in _traces(value_):
                assert trace.lower() not in place.lower(), (name, trace)


def _run(client: psycopg.Connection, expression: str) -> str:
    instance = value(client, f"SELECT df.start({expression})")
    assert value(client, "SELECT df.await_instance(%s, 30)", [instance]) in ("completed", "failed")
    return str(instance)


def _traces(secret: str) -> list[str]:
    encoded = base64.b64encode(secret.encode()).decode().rstrip("=")[:-1]
    return [
        secret,
        quote(secret, safe=""),
        json.dumps(secret)[1:-1],
        encoded,
        secret.encode().hex(),
    ]


def _dump(home: Database) -> str:
    command = [str(home.postgres.bindir / "pg_dump"), "--inserts", home.dsn]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
